"""Which actors a run places where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import SpecError
from vision_batch.inference.layout import (
    CHUNK_ANSWER_BYTES,
    CHUNK_PIXEL_BYTES,
    Layout,
    Node,
    Place,
    Resources,
    choose_layout,
    missing_place,
    room,
)
from vision_batch.inference.settings import ComputeSettings

GIB = 1 << 30


def cluster(*nodes: tuple[int, int], memory_gib: int = 256) -> Resources:
    """Nodes of (CPUs, GPUs)."""
    return Resources(nodes=tuple(Node(cpus=cpus, gpus=gpus, memory_bytes=memory_gib * GIB) for cpus, gpus in nodes))


def choose(
    resources: Resources,
    shards: int = 1000,
    weights_bytes: int | None = None,
    partly: bool = False,
    **compute: object,
) -> Layout:
    settings = ComputeSettings.model_validate(compute)
    return choose_layout(
        resources, settings, shards=shards, output_px=(224, 224), weights_bytes=weights_bytes, partly=partly
    )


def test_a_laptop_reads_decodes_and_predicts_in_one_process_for_each_cpu() -> None:
    layout = choose(cluster((2, 0)))
    assert (layout.name, layout.predictors, layout.cpus_per_predictor, layout.decode_threads) == ("joined", 2, 1, 0)


def test_processes_share_a_model_of_which_the_memory_holds_few() -> None:
    layout = choose(cluster((32, 0), memory_gib=64), weights_bytes=2 * GIB)
    assert (layout.predictors, layout.cpus_per_predictor, layout.decode_threads) == (8, 4, 4)
    assert choose(cluster((32, 0), memory_gib=64), weights_bytes=100 * GIB).predictors == 1


def test_a_model_of_unknown_size_is_not_taken_for_a_small_one() -> None:
    assert choose(cluster((32, 0), memory_gib=64), weights_bytes=1 << 20).predictors == 32
    assert choose(cluster((32, 0), memory_gib=64)).predictors == 16


def test_few_shards_make_few_readers_with_more_cpus_each() -> None:
    layout = choose(cluster((16, 0)), shards=1)
    assert (layout.predictors, layout.decode_threads) == (1, 16)
    assert choose(cluster((16, 0)), shards=1, layout="split").preprocessors == 1


def test_every_gpu_has_one_predictor_with_its_share_of_cpus() -> None:
    layout = choose(cluster((32, 2), (32, 2)))
    assert (layout.name, layout.predictors, layout.gpus_per_predictor, layout.decode_threads) == ("joined", 4, 1, 16)


def test_an_actor_fits_on_one_node() -> None:
    layout = choose(cluster((2, 0), (2, 0), (2, 0), (2, 0), memory_gib=4))
    assert (layout.predictors, layout.cpus_per_predictor) == (4, 2)


def test_cpu_nodes_feed_gpus_that_have_too_few_cpus_beside_them() -> None:
    layout = choose(cluster((8, 4), (16, 0), (16, 0)))
    assert (layout.name, layout.predictors) == ("split", 4)
    assert (layout.preprocessors, layout.cpus_per_preprocessor) == (9, 4)
    assert "cannot feed" in layout.reason


def test_split_leaves_a_cpu_for_preprocessing_where_every_node_has_only_one() -> None:
    layout = choose(cluster((0, 0), (1, 0), (1, 0), (1, 0)), layout="split")
    assert (layout.predictors, layout.preprocessors) == (2, 1)


def test_fractions_of_a_gpu_share_one_and_never_span_two() -> None:
    assert choose(cluster((16, 2)), gpus_per_predictor=0.5).predictors == 4
    assert choose(cluster((16, 2)), gpus_per_predictor=0.6).predictors == 2


def test_more_predictors_than_gpus_share_them() -> None:
    layouts = [choose(cluster((16, 2), (4, 1), (8, 0)), predictors=count) for count in (1, 3, 4, 6, 7, 10, 17)]
    assert [layout.predictors for layout in layouts] == [1, 3, 4, 6, 7, 10, 17]
    assert [layout.gpus_per_predictor for layout in layouts] == [1, 1, 0.5, 0.5, 0.3333, 0.25, 0.1428]


@given(st.integers(1, 100), st.integers(1, 8))
def test_a_share_is_never_more_than_ray_can_give(predictors: int, gpus: int) -> None:
    layout = choose(cluster((128, gpus)), predictors=predictors)
    sharers = -(-predictors // gpus)
    assert layout.predictors == predictors
    assert sharers * round(layout.gpus_per_predictor * 10_000) <= 10_000


def test_what_the_spec_says_wins() -> None:
    layout = choose(cluster((8, 0)), layout="split", batch_size=7, preprocessors=2, predictors=1)
    assert (layout.name, layout.batch_rows, layout.preprocessors, layout.predictors) == ("split", 7, 2, 1)
    assert not layout.batch_trial
    assert not choose(cluster((8, 0)), compile=True).batch_trial


def test_the_pixels_of_a_chunk_stay_within_their_budget() -> None:
    large = choose_layout(cluster((8, 1)), ComputeSettings(), shards=9, output_px=(2048, 2048))
    assert choose(cluster((8, 1))).batch_rows == 256
    assert large.batch_rows * 2048 * 2048 * 3 <= CHUNK_PIXEL_BYTES
    assert choose_layout(cluster((8, 1)), ComputeSettings(), shards=9, output_px=(16384, 16384)).batch_rows == 1


def test_what_a_model_answers_for_each_pixel_of_a_chunk_stays_within_its_budget() -> None:
    def rows(classes: int) -> int:
        some = cluster((8, 1)), ComputeSettings()
        return choose_layout(*some, shards=9, output_px=(512, 512), answers_per_pixel=classes).batch_rows

    assert [rows(classes) for classes in (0, 2, 21, 1000)] == [64, 64, 8, 1]
    assert rows(21) * 512 * 512 * 21 * 4 <= CHUNK_ANSWER_BYTES


@pytest.mark.parametrize(
    ("resources", "compute", "expected"),
    [
        (cluster((2, 0)), {"predictors": 3}, "at most 2"),
        (cluster((2, 0)), {"gpus_per_predictor": 1}, "at most 0"),
        (cluster((8, 1), (8, 1)), {"gpus_per_predictor": 2}, "at most 1, which is what one node has"),
        (cluster((8, 4)), {"gpus_per_predictor": 1.5}, "a part of one, or a whole number"),
        (cluster((8, 4)), {"predictors": 9}, "at most 4"),
        (cluster((2, 0)), {"layout": "split", "predictors": 2}, "use layout: joined"),
        (cluster((2, 0)), {"preprocessors": 2}, "at most 1"),
        (cluster((0, 0)), {}, "no CPU"),
        (cluster((8, 0), (0, 1)), {"gpus_per_predictor": 1}, "at least one CPU beside the GPUs"),
        (cluster((8, 0), (0, 1)), {"gpus_per_predictor": 0.5, "layout": "joined"}, "0.5, and no node that has so many"),
        (cluster((8, 0), (0, 1)), {"gpus_per_predictor": 1, "layout": "split"}, "at least one CPU beside the GPUs"),
        (cluster((8, 1), (0, 2)), {"gpus_per_predictor": 2}, "at least one CPU beside the GPUs"),
    ],
)
def test_what_cannot_be_placed_is_refused(resources: Resources, compute: dict[str, object], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        choose(resources, **compute)


def test_on_a_cluster_fewer_actors_than_asked_for_will_do() -> None:
    asked = {"predictors": 4, "gpus_per_predictor": 1}
    layout = choose(cluster((8, 1), (8, 1)), partly=True, **asked)
    assert (layout.predictors, layout.wanted, layout.place) == (2, 4, Place(cpus=8, gpus=1))
    layout = choose(cluster((2, 2)), partly=True, layout="split", preprocessors=9, **asked)
    assert (layout.predictors, layout.preprocessors) == (1, 1)
    assert choose(cluster((8, 1)), predictors="auto").wanted is None


def test_what_no_node_has_is_told_from_what_there_can_never_be() -> None:
    wants = ComputeSettings.model_validate({"gpus_per_predictor": 2})
    assert str(missing_place(cluster((8, 1), (0, 2)), wants)) == "2 GPUs"
    assert missing_place(cluster((8, 1), (1, 2)), wants) is None
    assert str(missing_place(cluster((0, 0)), ComputeSettings())) == "1 CPU"
    assert missing_place(cluster((1, 0)), ComputeSettings()) is None
    with pytest.raises(SpecError, match="a part of one, or a whole number"):
        missing_place(cluster((0, 0)), ComputeSettings.model_validate({"gpus_per_predictor": 1.5}))


@pytest.mark.parametrize(
    ("place", "said"), [((1, 0), "1 CPU"), ((4, 0), "4 CPUs"), ((1, 0.5), "0.5 GPU"), ((16, 2), "2 GPUs and 16 CPUs")]
)
def test_a_place_is_said_as_people_say_it(place: tuple[int, float], said: str) -> None:
    assert str(Place(cpus=place[0], gpus=place[1])) == said


def test_a_node_that_comes_has_room_for_as_many_as_fit() -> None:
    layout = choose(cluster((8, 2)))
    assert room(cluster((8, 2), (8, 2), (3, 2), (64, 0)), layout.place) == 2 * layout.predictors


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(0, 8)), min_size=1, max_size=6),
    st.sampled_from(["auto", "joined", "split"]),
    st.integers(1, 100),
)
def test_every_actor_of_a_layout_has_a_place(nodes: list[tuple[int, int]], name: str, shards: int) -> None:
    try:
        layout = choose(cluster(*nodes), shards=shards, layout=name)
    except SpecError:
        assert name == "split"
        return
    free = sorted(([cpus, gpus] for cpus, gpus in nodes), key=lambda node: (node[1], node[0]), reverse=True)

    def place(cpus: int, gpus: float) -> bool:
        node = next((node for node in free if node[0] >= cpus and node[1] >= gpus), None)
        if node is not None:
            node[0] -= cpus
            node[1] -= gpus
        return node is not None

    assert layout.predictors >= 1
    assert all(place(layout.cpus_per_predictor, layout.gpus_per_predictor) for _ in range(layout.predictors))
    assert all(place(layout.cpus_per_preprocessor, 0) for _ in range(layout.preprocessors))
