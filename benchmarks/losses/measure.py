"""Time and memory of the forward and backward pass of several losses, side by side."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Call = Callable[[Tensor], Tensor]


def times(calls: dict[str, Call], logits: Tensor, repeats: int, seconds: float) -> dict[str, float]:
    """Median seconds of forward and backward of each call.

    The calls take turns, so whatever slows the machine down slows all of them. A call that has used up its ``seconds``
    and has had five turns is skipped in later rounds.
    """
    taken = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            if len(taken[name]) >= 5 and sum(taken[name]) > seconds:
                continue
            logits.grad = None
            _wait(logits)
            start = time.perf_counter()
            call(logits).backward()
            _wait(logits)
            if turn:  # the first turn warms up
                taken[name].append(time.perf_counter() - start)
    logits.grad = None
    return {name: statistics.median(times) for name, times in taken.items()}


def operators(call: Call, logits: Tensor, repeats: int = 5, most: int = 8) -> dict[str, float]:
    """The operators of forward and backward with the most self CPU time, and their shares of the total."""
    call(logits).backward()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(repeats):
            call(logits).backward()
    logits.grad = None
    spent = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(spent.values())
    return {name: spent[name] / total for name in sorted(spent, key=spent.__getitem__, reverse=True)[:most]}


def _wait(logits: Tensor) -> None:
    if logits.is_cuda:
        torch.cuda.synchronize(logits.device)


def memory(call: Call, logits: Tensor) -> tuple[float, float]:
    """The memory a call keeps between forward and backward, and its peak over both, in units of the logits' size.

    The gradient of the logits itself, which every loss makes, is part of the peak.
    """
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.reset_peak_memory_stats(logits.device)
        before = torch.cuda.memory_allocated(logits.device)
        value = call(logits)
        kept = torch.cuda.memory_allocated(logits.device) - before
        value.backward()
        peak = torch.cuda.max_memory_allocated(logits.device) - before
    else:
        value, kept, peak_forward = _traced(lambda: call(logits))
        _, _, peak_backward = _traced(value.backward)
        peak = max(peak_forward, kept + peak_backward)
    logits.grad = None
    return kept / logits.nbytes, peak / logits.nbytes


def _traced(function: Callable[[], object]) -> tuple[object, int, int]:
    """The result of a function, the bytes it leaves allocated, and the peak."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = function()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return result, level, peak


def disagreement(call: Call, other: Call, logits: Tensor) -> tuple[float, float]:
    """The relative difference of two calls' values, and that of their gradients relative to the largest entry."""
    results = []
    for function in (call, other):
        logits.grad = None
        value = function(logits)
        value.backward()
        results.append((value.detach(), logits.grad))
        logits.grad = None
    (value, gradient), (other_value, other_gradient) = results
    return (
        float((value - other_value).abs() / other_value.abs()),
        float((gradient - other_gradient).abs().max() / other_gradient.abs().max()),
    )
