"""What a pass demands of Ray Data."""

from __future__ import annotations

from ray.data import DataContext


def test_ray_has_the_setting_that_lets_outputs_wait() -> None:
    """It is not public: a Ray that names it otherwise would ignore ours in silence."""
    assert isinstance(DataContext.get_current()._max_num_blocks_in_streaming_gen_buffer, int)
