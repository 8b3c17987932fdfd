"""What GitHub reads of this repository."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]
GITHUB = REPO / '.github'
TARGETS = {
    *re.findall(
        r'^\.PHONY: (.*)', (REPO / 'Makefile').read_text(), re.MULTILINE
    )[0].split()
}


def load(path):
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    'path', sorted(GITHUB.glob('workflows/*.yml')), ids=lambda path: path.stem
)
def test_a_workflow_runs_targets_of_the_makefile(path):
    for job in load(path)['jobs'].values():
        matrix = job.get('strategy', {}).get('matrix', {})
        runs = [step['run'] for step in job['steps'] if 'run' in step]
        assert runs
        for run in runs:
            make, target = shlex.split(
                run.replace('{{ ', '').replace(' }}', '')
            )
            assert make == 'make'
            name = target.removeprefix('$matrix.')
            assert {*matrix.get(name, [target])} <= TARGETS


def test_lint_and_both_stacks_are_run_on_all_supported_versions():
    jobs = {
        name: load(GITHUB / f'workflows/{name}.yml')['jobs'][name]
        for name in ('lint', 'test')
    }
    assert [*jobs['lint']['steps'][-1].values()] == ['make lint']
    matrix = jobs['test']['strategy']['matrix']
    assert matrix['target'] == ['test', 'test-stock']
    oldest = re.search(
        r"python_requires='>=([\d.]+)'", (REPO / 'setup.py').read_text()
    )[1]
    assert matrix['python-version'][0] == oldest
    assert all(isinstance(one, str) for one in matrix['python-version'])


@pytest.mark.parametrize(
    'path',
    sorted(GITHUB.glob('ISSUE_TEMPLATE/*.yml')),
    ids=lambda path: path.stem,
)
def test_an_issue_form_has_what_github_asks_for(path):
    form = load(path)
    assert {'name', 'description', 'body'} <= form.keys()
    names = [field['id'] for field in form['body']]
    assert len({*names}) == len(names)
    for field in form['body']:
        assert field['type'] in ('textarea', 'input', 'dropdown')
        assert field['attributes']['label']


def test_there_are_forms_for_faults_questions_and_changes():
    assert {path.name for path in GITHUB.rglob('*') if path.is_file()} >= {
        'bug.yml',
        'question.yml',
        'pull_request_template.md',
        'lint.yml',
        'test.yml',
    }
