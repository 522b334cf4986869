"""What a trace without data has to assume. One setting for every model, card and shape.

The real figures depend on the images (how many boxes, how large) or on choices that a library makes on the card.
"""

BOXES_PER_IMAGE = 60
"""Boxes of the fullest image of a batch, to which upstream pads every image of the batch.

Mosaic joins four images; a batch of large size nearly always has one that is crowded.
"""

POSITIVES_PER_BOX = 10
"""Anchors that are assigned to one box: upstream's `tal_topk` of the one-to-many head, its most."""

CANDIDATE_SHARE = 0.01
"""Anchors whose centre lies inside one box, as a share of all anchors: the area of a mean box."""

LEAST_CANDIDATES = 10
"""Upstream picks `tal_topk` candidates, so a box counts for no fewer."""


def positives_per_image() -> int:
    """Anchors that take part in the box loss."""
    return BOXES_PER_IMAGE * POSITIVES_PER_BOX


def candidates_per_image(anchors: int) -> int:
    """Pairs of a box and an anchor inside it, for an image of `anchors` anchors."""
    return int(BOXES_PER_IMAGE * max(LEAST_CANDIDATES, CANDIDATE_SHARE * anchors))
