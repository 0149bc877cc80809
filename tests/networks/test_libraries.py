"""The libraries of networks come without torch's compiler, and work with it when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

#: In a process of its own: here something else has imported the compiler already.
PROGRAM = """
import sys, torch
disable = torch.compiler.disable
from pneumoseg.networks.libraries import smp, timm
network = smp.create_model("unet", "resnet18", encoder_weights=None).eval()
image = torch.ones(1, 3, 64, 64)
with torch.inference_mode():
    before = network(image)
if "torch._dynamo" in sys.modules or torch.compiler.disable is not disable:
    sys.exit("the compiler was imported")
sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
if "torch._dynamo" not in sys.modules:
    sys.exit("what torchvision asks for is not torch's own")
graphs = []
compiled = torch.compile(network, backend=lambda graph, _: graphs.append(graph) or graph.forward)
with torch.inference_mode():
    torch.testing.assert_close(compiled(image), before)
method = timm.models.naflexvit.NaFlexVit._generate_rope_naflex
compiled = torch.compile(method, backend=lambda graph, _: sys.exit("compiled, although decorated"))
try:  # three arguments are too few: it is called, not compiled
    compiled(None, image)
except TypeError:
    pass
sys.exit(0 if graphs else "nothing was compiled")
"""


def test_the_compiler_is_imported_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
