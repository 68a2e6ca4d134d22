"""How far a profile can be trusted, in words: the same in every command."""

from __future__ import annotations

from mixstack.cli.terminal import format_count, format_share
from mixstack.model import Fit, Losses, Quality


def fit_text(quality: Quality) -> str:
    """The share of each fit that occurs, in the order of `Fit`: "exact 99.8 %, partial 0.2 %"."""
    shares = [
        f"{fit.value} {format_share(quality.fits[fit], quality.samples)}"
        for fit in Fit
        if quality.fits.get(fit)
    ]
    return ", ".join(shares) or "no samples"


def truncated_text(quality: Quality) -> str:
    native, python = quality.native_truncated, quality.python_truncated
    if not native and not python:
        return "0 stacks"
    return f"{format_count(native)} native stacks, {format_count(python)} Python stacks"


def unresolved_text(quality: Quality) -> str:
    return (
        f"{format_count(quality.unresolved_frames)} native frames without a symbol, "
        f"{format_count(quality.unnamed_codes)} Python frames without a name"
    )


def lost_text(quality: Quality) -> str:
    """Samples that were never recorded, with their share of all that should have been."""
    lost = quality.losses.ring_full
    share = format_share(lost, quality.samples + lost)
    return f"{format_count(lost)} samples ({share}){throttled_text(quality.losses)}"


def throttled_text(losses: Losses) -> str:
    """What else was not sampled, and nobody can count: ", throttled 3 times", or nothing."""
    if not losses.throttled:
        return ""
    times = f"{format_count(losses.throttled)} time{'' if losses.throttled == 1 else 's'}"
    return f", throttled {times} by the kernel"


def quality_line(quality: Quality) -> str:
    """All of it in one line."""
    truncated = quality.native_truncated + quality.python_truncated
    unresolved = quality.unresolved_frames + quality.unnamed_codes
    return (
        f"fit: {fit_text(quality)}; lost {format_count(quality.losses.ring_full)}"
        f"{throttled_text(quality.losses)}, "
        f"truncated {format_count(truncated)}, unresolved frames {format_count(unresolved)}"
    )
