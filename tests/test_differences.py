"""Where configurations differ: keys, lists, and classes with other arguments."""

from refinenet_pl.differences import differences, differing_values
from refinenet_pl.run_settings import differing_settings


def config(**changes):
    network = {"class_path": "refinenet_pl.RefineNet", "init_args": {"pooling": "original", "blocks": 4}}
    return {"model": {"network": network}, "data": {"init_args": {"crop_size": [32, 48]}}, "experiment": "a"} | changes


OTHER = {"network": {"class_path": "refinenet_pl.FullyConvNet", "init_args": {"output_stride": 8}}}


def test_keys_that_a_configuration_lacks_are_left_out():
    first, second, third = differing_settings([config(), config(model=OTHER), config(experiment="b")])
    assert (
        first
        == third
        == {
            "model.network": "refinenet_pl.RefineNet",
            "model.network.pooling": "original",
            "model.network.blocks": 4,
        }
    )
    assert second == {"model.network": "refinenet_pl.FullyConvNet", "model.network.output_stride": 8}


def test_lists_are_compared_inside():
    callbacks = [[{"class_path": "EMA", "init_args": {"decay": decay}}] for decay in (0.9, 0.99)]
    runs = [config(trainer={"callbacks": each}) for each in callbacks]
    assert differing_settings(runs) == [{"trainer.callbacks.0.decay": 0.9}, {"trainer.callbacks.0.decay": 0.99}]
    crop = config(data={"init_args": {"crop_size": [32, 64]}})
    assert differing_values([config(), crop]) == [
        {"data.init_args.crop_size": [32, 48]},
        {"data.init_args.crop_size": [32, 64]},
    ]
    assert differences(config(), crop) == {"data.init_args.crop_size.1": (48, 64)}


def test_missing_section_differs_as_a_whole():
    runs = [config(loss={"init_args": {"x": 1}}), config(loss={"init_args": {"x": 2}}), config(loss=None)]
    assert [*map(list, differing_values(runs))] == [["loss"]] * 3
    assert differing_values([config(), config()]) == [{}, {}]
    assert differing_values([config()]) == [{}]
