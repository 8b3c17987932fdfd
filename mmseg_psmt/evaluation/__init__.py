from .teacher_student_iou import TeacherStudentIoUMetric

__all__ = ['TeacherStudentIoUMetric']
