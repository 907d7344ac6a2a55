"""Commands of docs/distributed.md are ones that torchrun and this library know, also where no test can run them."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser

from nextrec_like.cli import _parser

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
BLOCKS = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
MANIFEST = next(block for block in BLOCKS if block.startswith("apiVersion"))


def manifest():
    return yaml.safe_load(MANIFEST)["spec"]


def pod(spec):
    (container,) = spec["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    return container


def commands():
    lines = "\n".join(BLOCKS).replace("\\\n", " ").splitlines()
    written = [line[line.index("torchrun") :] for line in lines if re.match(r"(\w+=\S+ +|srun .*)?torchrun ", line)]
    return [*map(shlex.split, written), pod(manifest())["command"]]


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[1:4]))
def test_command_is_known(command):
    launched = get_args_parser().parse_args(command[1:])
    assert launched.module
    assert launched.training_script == "nextrec_like"
    arguments = _parser().parse_args(launched.training_script_args)
    assert arguments.run.__name__ == "run_train"


def test_page_has_its_commands():
    assert len(commands()) == 7


def test_manifest_fits_together():
    spec = manifest()
    policy, worker = spec["elasticPolicy"], spec["pytorchReplicaSpecs"]["Worker"]
    assert policy["minReplicas"] == policy["maxReplicas"] == worker["replicas"]
    volumes = {volume["name"] for volume in worker["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in pod(spec)["volumeMounts"]} == volumes


def test_script_of_slurm_has_the_syntax_of_bash():
    script = next(block for block in BLOCKS if block.startswith("#!/bin/bash"))
    checked = subprocess.run(["/bin/bash", "-n"], input=script, text=True, capture_output=True, timeout=10)
    assert (checked.returncode, checked.stderr) == (0, "")
