"""What is noted of a network before it learns."""

from torch import nn

from fcn_tutorial import training
from fcn_tutorial.models import ViT
from fcn_tutorial.training import diagnosis


def test_zero_weights_are_noted_and_a_class_token_that_starts_at_zero_is_not() -> None:
    model = ViT(3, 1, 1 / 12, 32)
    assert not model.backbone.class_token.any()
    recipe = training.get("scenes-vit")
    assert not [*diagnosis._weights(recipe, model)]
    nn.init.zeros_(model.backbone.conv_proj.weight)
    (note,) = diagnosis._weights(recipe, model)
    assert note.startswith("backbone.conv_proj.weight is zero throughout")
