"""Colours and words for where a run ends."""

from __future__ import annotations

from theory.toy_ends import End

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = {
    End.FLAT: "#0072b2",
    End.SHARP: "#b0478a",
    End.SADDLE: "#e69f00",
    End.LEFT: "#3c3c3c",
    End.FLAT_SIDE: "#a6cfe8",
    End.SHARP_SIDE: "#eac3da",
    End.UNSETTLED: "#dcdcdc",
}
WORDS = {
    End.FLAT: "flat minimum",
    End.SHARP: "sharp minimum",
    End.SADDLE: "saddle",
    End.LEFT: "left σ > 0",
    End.FLAT_SIDE: "flat side",
    End.SHARP_SIDE: "sharp side",
    End.UNSETTLED: "unsettled",
}
ORDER = (End.FLAT, End.FLAT_SIDE, End.SADDLE, End.SHARP_SIDE, End.SHARP, End.UNSETTLED, End.LEFT)
