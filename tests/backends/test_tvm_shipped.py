"""The tuning records that ship with bakeoff serve what they were made for: the nets of the quick suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from bakeoff.backends.tvm.tuning.kernels import find_kernels
from bakeoff.backends.tvm.tuning.pack import read_pack
from bakeoff.backends.tvm.tuning.serving import gather, variants_in
from bakeoff.backends.tvm.tuning.shelf import Source, shipped
from bakeoff.harness.subjects import variant_request
from bakeoff.harness.suite import load_suite
from bakeoff.models.variant_build import build_variant
from bakeoff.models.zoo import resolve

QUICK = load_suite("quick")


def test_packs_are_named_by_their_target() -> None:
    """Suite, LLVM's name of the CPU, threads."""
    assert shipped()
    for file in shipped():
        target = read_pack(file).meta.target
        assert f"quick-{target['mcpu']}-{target['num-cores']}.json.gz" == file.name


@pytest.mark.slow
@pytest.mark.parametrize("model", QUICK.matrix.models)
def test_every_kernel_that_computes_is_served(model: str, tmp_path: Path) -> None:
    """A change of the graph's preparation gives kernels other hashes: then the records have to be made anew."""
    request = variant_request(resolve(model), QUICK, model, "fp32", 1)
    file = build_variant(request, tmp_path).exported.path
    for path in shipped():
        source = Source(name="shipped", pack=read_pack(path))
        tasks = find_kernels(file, variants_in([source]), tmp_path)
        gathered = gather([source], tasks, source.pack.meta)
        served = {one.trial.task for one in gathered.servings}
        sites = {task.site for task in tasks if task.hash in served and task.site}
        missing = [task.name for task in tasks if task.hash not in served and task.site not in sites]
        assert [] == [name for name in missing if "conv" in name or "matmul" in name], path.name
