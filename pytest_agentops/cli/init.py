"""`pytest-agentops init`: what a project needs to begin with, and the checks of a pull request."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pytest_agentops.cli import tell

ABOUT = "a first prompt, and the checks of a pull request for GitHub or GitLab; shows the plan first"

PROMPT = """\
---
name: hello
version: 1.0.0
description: Greets somebody
model: {id: gpt-5-mini}
inputs:
  name: {kind: string, trust: untrusted}
---
system:
Greet people warmly, in one sentence.
user:
{{ name | untrusted }}
"""

GITHUB = """\
# What a pull request does to the agents: written by pytest-agentops init --github, and yours from here on.
name: agents
on: pull_request
permissions:
  contents: read
  pull-requests: write
jobs:
  agents:
    runs-on: ubuntu-latest
    env:
      BASE: origin/${{ github.base_ref }}
      PULL_REQUEST: ${{ github.event.pull_request.number }}
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: 0  # The versions of prompts, and the base, are read out of git.
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install pytest-agentops  # And your project, with what its tests need.
      - run: pytest-agentops prompts lint
      - run: pytest-agentops prompts check --base "$BASE"
      # Replays what the change touches, with all tests that have no recording: no key, no network, no cost.
      - run: >-
          pytest --agentops-impacted --agentops-base "$BASE" --junitxml=junit.xml
          --agentops-report=report.md --agentops-report=report.html --agentops-report=report.json
      - if: always()
        run: if [ -f report.md ]; then cat report.md >> "$GITHUB_STEP_SUMMARY"; fi
      # One comment, which later runs renew. A fork may not comment; its report is in the summary and the artefact.
      - if: always() && github.event.pull_request.head.repo.full_name == github.repository
        run: |
          [ -f report.md ] || exit 0
          comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
          mark='.[] | select(.body | startswith("<!-- pytest-agentops -->")) | .id'
          known=$(gh api --paginate "$comments" --jq "$mark" | head -n 1)
          if [ -n "$known" ]; then
            gh api -X PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$known" -F body=@report.md > /dev/null
          else
            gh api -X POST "$comments" -F body=@report.md > /dev/null
          fi
        env:
          GH_TOKEN: ${{ github.token }}
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: agents
          path: |
            report.html
            report.json
            junit.xml
"""

GITLAB = """\
# What a merge request does to the agents: written by pytest-agentops init --gitlab; include it in .gitlab-ci.yml.
agents:
  image: python:3.12
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
  variables:
    GIT_DEPTH: "0"  # The versions of prompts, and the base, are read out of git.
    BASE: origin/$CI_MERGE_REQUEST_TARGET_BRANCH_NAME
  script:
    - git fetch origin "$CI_MERGE_REQUEST_TARGET_BRANCH_NAME"
    - pip install pytest-agentops  # And your project, with what its tests need.
    - pytest-agentops prompts lint
    - pytest-agentops prompts check --base "$BASE"
    # Replays what the change touches, with all tests that have no recording: no key, no network, no cost.
    - >-
      pytest --agentops-impacted --agentops-base "$BASE" --junitxml=junit.xml
      --agentops-report=report.md --agentops-report=report.html --agentops-report=report.json
  after_script:
    # One note, which later runs renew, where a token that may write notes is given as AGENTOPS_NOTES_TOKEN.
    - |
      [ -f report.md ] && [ -n "$AGENTOPS_NOTES_TOKEN" ] || exit 0
      python3 - <<'END'
      import json, os, pathlib, urllib.request
      place = "{CI_API_V4_URL}/projects/{CI_PROJECT_ID}/merge_requests/{CI_MERGE_REQUEST_IID}"
      notes = place.format(**os.environ) + "/notes"
      text = pathlib.Path("report.md").read_text(encoding="utf-8")
      def ask(url, method="GET", data=None):
          headers = {"PRIVATE-TOKEN": os.environ["AGENTOPS_NOTES_TOKEN"], "Content-Type": "application/json"}
          body = None if data is None else json.dumps(data).encode()
          with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
              return json.load(answer)
      mark = "<!-- pytest-agentops -->"
      mine = [each["id"] for each in ask(notes + "?per_page=100") if each["body"].startswith(mark)]
      ask(notes + (f"/{mine[0]}" if mine else ""), "PUT" if mine else "POST", {"body": text})
      END
  artifacts:
    when: always
    paths: [report.html, report.json, report.md]
    reports:
      junit: junit.xml
"""


def add(parser: Any) -> None:
    """Add what this command takes."""
    parser.add_argument("--github", action="store_true", help="write .github/workflows/pr_checks.yaml")
    parser.add_argument("--gitlab", action="store_true", help="write agents.gitlab-ci.yml")
    parser.add_argument("--yes", action="store_true", help="do it")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import plan_lines
    from pytest_agentops.releases import Edit, Plan
    from pytest_agentops.settings import project_root, read_settings

    settings = read_settings(project_root(Path.cwd()))
    wanted = {}
    if not any(settings.prompts.rglob("*.prompty")):
        wanted[settings.prompts / "hello.prompty"] = PROMPT
    if options.github:
        wanted[settings.root / ".github" / "workflows" / "pr_checks.yaml"] = GITHUB
    if options.gitlab:
        wanted[settings.root / "agents.gitlab-ci.yml"] = GITLAB
    there = [path for path in wanted if path.exists()]
    edits = tuple(Edit(path, None, text) for path, text in wanted.items() if path not in there)
    plan = Plan(tuple(f"{path} is there already and stays as it is" for path in there), edits)
    if options.yes:
        plan.apply()
    if options.json:
        done = {"files": [str(edit.path) for edit in edits], "kept": list(map(str, there)), "done": options.yes}
        print(json.dumps(done, indent=2))
        return 0
    tell(plan_lines(plan, done=options.yes))
    if not edits:
        print("nothing to do")
    elif options.yes:
        print("  next: pytest-agentops prompts lock, and commit")
    else:
        print("  to do it: the same with --yes")
    return 0
