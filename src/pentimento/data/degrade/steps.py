"""The options of each kind of damage. Importing this module does not import torch.

A pair is a range (low, high) from which each sample draws its own value, uniformly; where the comment says *log*,
log-uniformly: as often between 1 and 2 as between 2 and 4. Widths and lengths are in pixels and densities are counts on
100 x 100 pixels, so that a patch is damaged like a cut-out of a whole picture.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pentimento.errors import suggest

__all__ = [
    "Creases",
    "Downscale",
    "Dust",
    "Fading",
    "GaussianBlur",
    "GaussianNoise",
    "Gray",
    "Halftone",
    "Jpeg",
    "MotionBlur",
    "Rectangles",
    "Scratches",
    "SensorNoise",
    "Stains",
    "Step",
    "Strokes",
    "Text",
    "Yellowing",
]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("a pair (low, high) with low <= high expected")
    return pair


Share = Annotated[float, Field(ge=0, le=1)]
_Level = Annotated[float, Field(ge=0, le=255)]
_Gain = Annotated[float, Field(gt=0, le=255)]
_Quality = Annotated[int, Field(ge=1, le=100)]
_Length = Annotated[float, Field(ge=0, le=100)]
_Blur = Annotated[float, Field(gt=0, le=10)]
_Ratio = Annotated[float, Field(ge=1, le=4)]
_Size = Annotated[float, Field(gt=0, le=1000)]
_TextSize = Annotated[int, Field(ge=4, le=500)]
_Period = Annotated[float, Field(ge=2, le=100)]
_Degrees = Annotated[float, Field(ge=-360, le=360)]
_Density = Annotated[float, Field(ge=0, le=100)]
_Count = Annotated[int, Field(ge=0, le=100)]

Shares = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
Levels = Annotated[tuple[_Level, _Level], AfterValidator(_ordered)]
Gains = Annotated[tuple[_Gain, _Gain], AfterValidator(_ordered)]
Qualities = Annotated[tuple[_Quality, _Quality], AfterValidator(_ordered)]
Lengths = Annotated[tuple[_Length, _Length], AfterValidator(_ordered)]
Blurs = Annotated[tuple[_Blur, _Blur], AfterValidator(_ordered)]
Sizes = Annotated[tuple[_Size, _Size], AfterValidator(_ordered)]
Ratios = Annotated[tuple[_Ratio, _Ratio], AfterValidator(_ordered)]
TextSizes = Annotated[tuple[_TextSize, _TextSize], AfterValidator(_ordered)]
Periods = Annotated[tuple[_Period, _Period], AfterValidator(_ordered)]
Degrees = Annotated[tuple[_Degrees, _Degrees], AfterValidator(_ordered)]
Densities = Annotated[tuple[_Density, _Density], AfterValidator(_ordered)]
Counts = Annotated[tuple[_Count, _Count], AfterValidator(_ordered)]


class _Step(BaseModel):
    """What all kinds share."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    makes_masks: ClassVar[bool] = False  # whether it makes holes or local damage, which go into the mask
    tells: ClassVar[Literal["noise", "jpeg"] | None] = None  # the unit of the strength it sets, see `Restores.told`

    probability: Share = 1.0  # that it is done to a sample


# ------------------------------------------------------------------------------------- tones, noise, codec
class Gray(_Step):
    """The picture without colour, and its target too: no damage, but one network learns colour and gray."""

    kind: Literal["gray"] = "gray"


class _Noise(_Step):
    """What both kinds of noise share; a gray picture gets the same in all channels."""

    tells: ClassVar[Literal["noise", "jpeg"] | None] = "noise"

    grainy: Share = 0.0  # of the samples, whose noise is not white: neighbouring pixels, and colours, go together
    grain_px: Blurs = (0.4, 2.0)  # log; of those, the standard deviation of the blur that makes the grain
    grain_shared: Shares = (0.0, 1.0)  # of those, the correlation of one colour with another


class GaussianNoise(_Noise):
    """Gaussian noise."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: Levels = (0.0, 75.0)  # standard deviation, of 255
    varying: Share = 0.0  # of the samples, whose sigma varies smoothly over the picture, within the pair
    clip: bool = False  # to [0, 1]; the literature leaves it off


class SensorNoise(_Noise):
    """Noise of a camera: of the light, which grows with it, and of reading the sensor."""

    kind: Literal["sensor_noise"] = "sensor_noise"
    gain: Gains = (0.05, 2.0)  # log; levels of 255 a photon: the variance is gain x level
    read: Levels = (0.0, 10.0)  # standard deviation, of 255
    clip: bool = False  # to [0, 1], as a file does


class Jpeg(_Step):
    """Through a JPEG file and back."""

    kind: Literal["jpeg"] = "jpeg"
    tells: ClassVar[Literal["noise", "jpeg"] | None] = "jpeg"
    quality: Qualities = (10, 95)
    subsampled: Share = 0.5  # of the samples, with colour at half the resolution (4:2:0); the others 4:4:4


# ----------------------------------------------------------------------------------------- blur and size
class GaussianBlur(_Step):
    """Out of focus, roughly; with an elongation above 1, more along one direction, drawn uniformly."""

    kind: Literal["gaussian_blur"] = "gaussian_blur"
    sigma_px: Blurs = (0.5, 3.0)  # log; along the shorter axis
    elongation: Ratios = (1.0, 1.0)  # log; longer axis over shorter


class MotionBlur(_Step):
    """The camera moved on a straight line while the shutter was open."""

    kind: Literal["motion_blur"] = "motion_blur"
    length_px: Lengths = (3.0, 20.0)
    angle_degrees: Degrees = (0.0, 180.0)  # counter-clockwise from the right


class Downscale(_Step):
    """To 1 / factor of the size by antialiased bicubic interpolation; targets keep theirs, cut to a multiple."""

    kind: Literal["downscale"] = "downscale"
    factor: Literal[2, 3, 4] = 2
    probability: Annotated[float, Field(ge=1, le=1)] = 1.0  # 1: the pictures of a batch have one size


# --------------------------------------------------------------------------------------- missing pixels
class _Missing(_Step):
    makes_masks: ClassVar[bool] = True
    fill: Share = 0.5  # what stands where pixels are missing


class Strokes(_Missing):
    """Painted over with a brush, freely."""

    kind: Literal["strokes"] = "strokes"
    width_px: Sizes = (8.0, 32.0)
    coverage: Shares = (0.1, 0.3)  # of the picture


class Rectangles(_Missing):
    """Rectangular holes."""

    kind: Literal["rectangles"] = "rectangles"
    count: Counts = (1, 4)
    side: Shares = (0.1, 0.4)  # of the picture's, either way


class Text(_Missing):
    """Lines of writing."""

    kind: Literal["text"] = "text"
    size_px: TextSizes = (10, 24)
    lines: Counts = (2, 6)


# --------------------------------------------------------------------------------------- old photographs
class _Damage(_Step):
    makes_masks: ClassVar[bool] = True


class Scratches(_Damage):
    """Long thin lines of uneven width and strength where the emulsion is scratched."""

    kind: Literal["scratches"] = "scratches"
    density: Densities = (0.2, 1.5)
    width_px: Sizes = (0.7, 2.5)  # log
    length_px: Sizes = (15.0, 250.0)  # log
    bright: Share = 0.8  # of the scratches; the others are dark


class Creases(_Damage):
    """Folds across the whole picture: broken lines of bare paper between a lit and a shaded side."""

    kind: Literal["creases"] = "creases"
    count: Counts = (1, 2)
    width_px: Sizes = (1.0, 4.0)  # log


class Dust(_Damage):
    """Specks, and a hair here and there."""

    kind: Literal["dust"] = "dust"
    density: Densities = (2.0, 20.0)
    size_px: Sizes = (1.0, 5.0)  # diameter; small ones are many
    bright: Share = 0.7  # of the specks; the others are dark


class Stains(_Damage):
    """Brown blots with uneven outlines, some with a darker rim where water dried."""

    kind: Literal["stains"] = "stains"
    density: Densities = (0.1, 0.8)
    radius_px: Sizes = (4.0, 40.0)  # log
    strength: Shares = (0.2, 0.7)


class Fading(_Step):
    """Contrast and colour lost to light, unevenly."""

    kind: Literal["fading"] = "fading"
    contrast: Shares = (0.1, 0.5)  # share that is lost
    colour: Shares = (0.0, 0.6)  # share that is lost
    level: Shares = (0.4, 0.8)  # the tone towards which all fade


class Yellowing(_Step):
    """The tint of aged paper; a picture of one channel only loses light."""

    kind: Literal["yellowing"] = "yellowing"
    strength: Shares = (0.2, 1.0)


class Halftone(_Step):
    """Printed in dots: one screen for gray pictures, for colour one each, turned against one another."""

    kind: Literal["halftone"] = "halftone"
    period_px: Periods = (2.5, 5.0)  # log
    strength: Shares = (0.2, 0.8)  # 1: dots of pure ink


_KINDS: tuple[type[_Step], ...] = (
    Gray, GaussianNoise, SensorNoise, Jpeg, GaussianBlur, MotionBlur, Downscale, Strokes, Rectangles, Text,
    Scratches, Creases, Dust, Stains, Fading, Yellowing, Halftone,
)  # fmt: skip
_NAMES = {str(cls.model_fields["kind"].default): cls for cls in _KINDS}


def _known(given: Any) -> Any:
    """Refuse an unknown kind and unknown keys with the nearest right name."""
    if not isinstance(given, dict):
        return given
    kind = given.get("kind")
    if not isinstance(kind, str):
        raise ValueError(f"kind: missing; {suggest('', _NAMES, limit=len(_NAMES))}")
    if kind not in _NAMES:
        raise ValueError(f"kind: unknown name {kind!r}; {suggest(kind, _NAMES, limit=len(_NAMES))}")
    known = _NAMES[kind].model_fields
    for key in given:
        if key not in known:
            raise ValueError(f"{key}: unknown key of {kind!r}; {suggest(key, known)}")
    return given


Step = Annotated[
    Gray
    | GaussianNoise
    | SensorNoise
    | Jpeg
    | GaussianBlur
    | MotionBlur
    | Downscale
    | Strokes
    | Rectangles
    | Text
    | Scratches
    | Creases
    | Dust
    | Stains
    | Fading
    | Yellowing
    | Halftone,
    Field(discriminator="kind"),
    BeforeValidator(_known),
]
