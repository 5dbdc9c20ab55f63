"""The memory of a loss, what the terms of a compound share, and names, docstrings and compilation of the losses."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from loss_cases import HARD_ONLY, OPTIONS, inputs, value_and_gradient

from segloss import losses
from segloss.losses import CATALOGUE, _batch, _sums, get


def kept_bytes(loss, logits, target, **options) -> int:
    """Memory of the tensors kept for backward that are not the logits or the target themselves."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    logits = logits.detach().requires_grad_()
    masks = [value for value in options.values() if torch.is_tensor(value)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(logits, target, **options)
    given = {tensor.untyped_storage().data_ptr() for tensor in (logits, target, *masks)}
    return sum(size for pointer, size in kept.items() if pointer not in given)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_hard_label_loss_keeps_little_more_than_the_softmax(name):
    logits, target = torch.randn(1, 19, 64, 64), torch.randint(19, (1, 64, 64))
    valid = torch.rand(1, 64, 64) > 0.1
    options = {"class_counts": [10] * 19} if get(name).takes_class_counts else {}
    if name == "compound":
        options |= OPTIONS["compound"][0]
    with_void = torch.where(valid, target, 255)
    assert kept_bytes(get(name), logits, with_void, valid=valid, **options) <= 1.1 * logits.nbytes


@pytest.mark.parametrize("name", ["cross_entropy", "jaccard_metric", "dice", "focal"])
def test_a_soft_label_loss_keeps_little_more_than_the_softmax(name):
    logits, target = torch.randn(1, 19, 64, 64), torch.rand(1, 19, 64, 64).softmax(1)
    assert kept_bytes(get(name), logits, target) <= 1.1 * logits.nbytes


@pytest.mark.parametrize("soft", [False, True])
def test_a_compound_computes_the_softmax_and_the_sums_once(soft, monkeypatch):
    calls = []
    name = "SoftSums" if soft else "HardSums"
    real = getattr(_sums, name)

    class Counting:
        @staticmethod
        def apply(*arguments):
            calls.append(arguments)
            return real.apply(*arguments)

    monkeypatch.setattr(_sums, name, Counting)
    logits, target, probabilities, valid = inputs(0)
    terms = [
        {"loss": loss} for loss in ("cross_entropy", "jaccard_metric", "dice_semimetric", "dice", "tversky", "dice")
    ]
    losses.compound(logits, probabilities if soft else target, valid=valid, terms=terms)
    assert len(calls) == 1


def test_a_compound_is_the_weighted_sum_of_its_terms():
    logits, target, _, valid = inputs(0)
    names = [name for name in OPTIONS if name != "compound"]
    terms = [{"loss": name, "weight": 1.5**index, **OPTIONS[name][-1]} for index, name in enumerate(names)]
    together = value_and_gradient(losses.compound, logits, target, valid=valid, terms=terms)
    alone = [value_and_gradient(get(name), logits, target, valid=valid, **OPTIONS[name][-1]) for name in names]
    for part in (0, 1):
        expected = sum(1.5**index * result[part] for index, result in enumerate(alone))
        torch.testing.assert_close(together[part], expected)


def test_a_compound_hands_the_class_counts_to_the_terms_that_take_them():
    logits, target, _, _ = inputs(0)
    counts = [5, 4, 3, 2, 1]
    with_counts = {"loss": "ldam", "class_counts": [1, 1, 1, 1, 1]}
    terms = [{"loss": "ldam"}, {"loss": "dice"}, with_counts]
    value = losses.compound(logits, target, terms=terms, class_counts=counts)
    expected = losses.ldam(logits, target, class_counts=counts) + losses.dice(logits, target)
    torch.testing.assert_close(value, expected + losses.ldam(logits, target, class_counts=[1, 1, 1, 1, 1]))


def test_a_loss_reads_only_the_sums_it_was_registered_with():
    logits, target, _, _ = inputs(0)
    batch = _batch.Batch.read(logits, target, None, {"likelihood"})
    with pytest.raises(KeyError, match="A loss reads the sum 'predicted' but was registered with likelihood only"):
        batch.predicted  # noqa: B018


def test_names_in_the_registry_are_camel_case_unique_and_none_of_mmsegmentations():
    names = [loss.module_name for loss in CATALOGUE.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"([A-Z][A-Za-z]*)Loss", name) for name in names)
    spec = importlib.util.find_spec("mmseg")
    if spec is None:
        pytest.skip("MMSegmentation is not installed")
    source = "\n".join(path.read_text() for path in (Path(spec.origin).parent / "models").rglob("*.py"))
    theirs = set(re.findall(r"^class (\w+)", source, re.MULTILINE))
    assert "LovaszLoss" in theirs
    assert not theirs & set(names)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_docstring_documents_what_the_contract_requires(name):
    text = get(name).__doc__
    for word in ("Args:", "Returns:", "Raises:", "Default"):
        assert word in text, word
    if name != "compound":
        assert "ower is better" in text
        assert re.search(r"Reference: .*(19|20)\d\d.*https://", text, re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # those of the compiler
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_unchecked_losses_compile_to_one_graph(name, soft):
    if soft and name in HARD_ONLY:
        pytest.skip("defined on class maps only")
    logits, target, probabilities, valid = inputs(0)
    given = probabilities if soft else target
    with losses.unchecked():
        for options in OPTIONS[name][:2]:
            torch._dynamo.reset()
            compiled = torch.compile(get(name), backend="aot_eager", fullgraph=True)
            torch.testing.assert_close(
                value_and_gradient(compiled, logits, given, valid=valid, **options),
                value_and_gradient(get(name), logits, given, valid=valid, **options),
            )
