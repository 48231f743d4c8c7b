import pytest

from featherlight.commands.quickstart import quickstart_jobs


@pytest.mark.slow
def test_an_empty_store_is_enough_to_plan_every_stage(tmp_path):
    store = tmp_path / "runs"
    jobs = quickstart_jobs({"precision": "fp32"}, store=store)
    stages = [job.stage.name for job in jobs]
    assert stages == ["finetune", "label", "distill", "distill", "quantize", "pack", "quantize", "pack"]
    for place, job in enumerate(jobs):
        assert set(job.inputs.values()) <= {earlier.folder for earlier in jobs[:place]}
    assert not store.exists()
