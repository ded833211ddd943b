"""Data sets as they are prepared for a model: shipped ones, folders of a user's, and what is wrong with them."""

import gzip
import json
import struct

import numpy as np
import pytest
from bakeoff.models.data import check_calibration, known_data, load_labels, prepare_data, trainable
from bakeoff.models.datasets import photos
from bakeoff.models.datasets.base import Want
from bakeoff.models.datasets.views import ten_views
from bakeoff.models.errors import StageError, UserError
from bakeoff.models.spec import InputSpec, ResizeRule
from bakeoff.models.zoo import resolve
from PIL import Image

_SMALL = InputSpec(height=32, width=24, resize=ResizeRule(resize=36, crop=24))


@pytest.fixture
def prepare(tmp_path):
    """Prepare data for a model of the zoo, at a small input unless it is a digits model."""

    def ask(name, model="resnet18", split="evaluation", count=8, seed=0, image=_SMALL):
        spec = resolve(model)
        return prepare_data(
            name,
            spec,
            spec.input if model.startswith(("digits", "rapid")) else image,
            split=split,
            count=count,
            seed=seed,
            cache=tmp_path / "cache",
        )

    return ask


@pytest.fixture
def folder(tmp_path):
    """A factory of image folders: {class: number of images}, each of one colour that tells the class and place."""

    def make(classes, inside="."):
        root = tmp_path / "pictures" / inside
        for place, (name, count) in enumerate(classes.items()):
            (root / name).mkdir(parents=True)
            for number in range(count):
                picture = Image.new("RGB", (40 + number, 50), (20 * place, 5 * number, 100))
                picture.save(root / name / f"{number}.png")
        return tmp_path / "pictures"

    return make


def _images(data):
    with np.load(data.path) as stored:
        return stored["images"]


def test_known_data_are_those_of_the_registry():
    """Each is spelt as `find` understands it."""
    assert {"digits", "photos", "imagefolder:DIR", "words"} < set(known_data())
    assert all(known_data().values())
    assert [True, False, True, False] == [trainable(name) for name in ("digits", "photos", "imagefolder:x", "words")]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digit", "no such data set: 'digit'; did you mean digits?"),
        ("nonsense", "see `bakeoff list data`"),
        ("digits:8", "digits takes nothing behind a colon"),
        ("imagefolder", "names no folder; say imagefolder:DIR"),
        ("imagefolder:", "names no folder"),
        ("coco:a.json", "names no folder of images; say coco:ANNOTATIONS.json:IMAGES_DIR"),
        ("foolbox:cifar10", "only foolbox:imagenet"),
    ],
)
def test_names_that_mean_nothing(prepare, name, says):
    """One line that says what to type."""
    with pytest.raises(UserError, match=says.replace("?", r"\?")) as caught:
        prepare(name)
    assert "\n" not in str(caught.value)


def test_nothing_asked_for(prepare):
    """No image is no evaluation."""
    with pytest.raises(UserError, match="at least one"):
        prepare("digits", "digits_vgg", count=0)


def test_digits_are_prepared_for_the_model(prepare):
    """Their parts share no image; the seed gives the order; a larger count only adds."""
    parts = {split: prepare("digits", "digits_vgg", split, 5000) for split in ("evaluation", "calibration")}
    rows = {split: {image.tobytes() for image in _images(data)} for split, data in parts.items()}

    assert {"evaluation": 360, "calibration": 200} == {split: data.count for split, data in parts.items()}
    assert not rows["evaluation"] & rows["calibration"]
    assert (360, 1, 32, 32) == _images(parts["evaluation"]).shape
    assert "360 images: the data set has no more" in parts["evaluation"].notes[0]
    assert set(range(10)) == set(load_labels(parts["evaluation"]).tolist())
    few = prepare("digits", "digits_vgg", count=5)
    assert np.array_equal(_images(few), _images(parts["evaluation"])[:5])
    assert not np.array_equal(_images(few), _images(prepare("digits", "digits_vgg", count=5, seed=1)))
    assert (10, True, "classification") == (few.classes, few.labelled, few.task)


def test_digits_are_no_classes_of_imagenet(prepare):
    """A model of other labels is refused by name."""
    with pytest.raises(UserError, match="its labels are those of digits, resnet18 has those of imagenet1k"):
        prepare("digits")


def test_the_cache_is_asked_by_content(prepare, folder, tmp_path):
    """Asked twice it is made once; another byte in one image makes other data, the same bytes the same hash."""
    root = folder({"0": 2, "1": 2})
    first = prepare(f"imagefolder:{root}")
    again = prepare(f"imagefolder:{root}")
    Image.new("RGB", (40, 50), (255, 255, 255)).save(root / "0" / "0.png")
    Image.new("RGB", (40, 50), (255, 255, 255)).save(root / "0" / "1.png")
    changed = prepare(f"imagefolder:{root}")

    assert first == again
    assert first.sha256 != changed.sha256
    assert 2 == len(list((tmp_path / "cache" / "data").iterdir()))


def test_photos_are_seen_in_ten_views(prepare):
    """Evaluation shows the centre of each photograph first, then its mirror image; no photograph is in two splits."""
    evaluation, calibration = prepare("photos", count=999), prepare("photos", split="calibration", count=40)

    assert evaluation.pictures is not None
    assert evaluation.pictures >= 5
    assert 10 * evaluation.pictures == evaluation.count
    assert f"{evaluation.count} images are views of {evaluation.pictures} pictures" in evaluation.notes
    assert not evaluation.labelled
    views = _images(evaluation).reshape(10, evaluation.pictures, *_images(evaluation).shape[1:])
    np.testing.assert_array_equal(views[1], views[0][..., ::-1])
    np.testing.assert_array_equal(views[9], views[8][..., ::-1])
    assert evaluation.count == len({image.tobytes() for image in _images(evaluation)})
    with pytest.raises(UserError, match="has no labels"):
        load_labels(evaluation)
    assert (40, 40) == (calibration.count, len({image.tobytes() for image in _images(calibration)}))


def test_photos_of_a_split_are_its_own():
    """With foolbox or without it a model is calibrated on the same photographs, and evaluated on others."""
    spec = resolve("efficientnet_lite0")
    files = {
        split: photos.files("", Want(model=spec, input=spec.input, split=split, count=999, seed=seed))
        for split, seed in (("evaluation", 0), ("calibration", 7))
    }
    assert ["camera.png", "coffee.png", "gravel.png", "china.jpg"] == [path.name for path in files["calibration"]]
    assert not set(files["evaluation"]) & set(files["calibration"])
    assert {"astronaut.png", "flower.jpg"} < {path.name for path in files["evaluation"]}
    assert {*photos.foolbox_photographs()} <= {*files["evaluation"]}


def test_a_rule_without_margins_leaves_two_views(tmp_path):
    """Corners would all be the centre."""
    Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)).save(tmp_path / "a.png")
    spec = resolve("efficientnet_lite0")
    whole = InputSpec(height=24, width=24, resize=ResizeRule(resize=24, crop=24))
    want = Want(model=spec, input=whole, split="evaluation", count=50, seed=0)

    assert 2 == len(ten_views([tmp_path / "a.png"], want))
    wide = InputSpec(height=20, width=24, resize=ResizeRule(resize=24, crop=20))
    assert 10 == len(
        ten_views([tmp_path / "a.png"], Want(model=spec, input=wide, split="evaluation", count=50, seed=0))
    )


def test_a_folder_of_classes(prepare, folder):
    """Index, WordNet id and label may stand side by side; halves of each class are apart; pixels are the model's."""
    root = folder({"7": 4, "n01443537": 3, "great_white_shark": 2})
    evaluation = prepare(f"imagefolder:{root}", count=20)
    calibration = prepare(f"imagefolder:{root}", split="calibration", count=20)

    assert [5, 4] == [evaluation.count, calibration.count]
    assert [1, 1, 2, 7, 7] == sorted(load_labels(evaluation).tolist())
    rows = [{image.tobytes() for image in _images(data)} for data in (evaluation, calibration)]
    assert not rows[0] & rows[1]
    place = load_labels(evaluation).tolist().index(2)
    red = (_images(evaluation)[place, 0] * _SMALL.std[0] + _SMALL.mean[0]) * 255
    assert 40 == pytest.approx(red.mean(), abs=0.01)
    assert 1000 == evaluation.classes


def test_train_and_val_are_kept_apart(prepare, folder):
    """Evaluation takes all of val/, calibration and training all of train/."""
    folder({"3": 5}, "train")
    root = folder({"3": 2, "4": 1}, "val")
    counts = {
        split: prepare(f"imagefolder:{root}", split=split, count=99).count for split in ("evaluation", "training")
    }
    assert {"evaluation": 3, "training": 5} == counts


def test_folders_that_cannot_be_used(prepare, folder, tmp_path):
    """Each is one line that names the folder, what is wrong, and what to do."""
    root = folder({"1": 1, "17": 2})
    cases = {
        f"imagefolder:{tmp_path}/none": "no such folder",
        f"imagefolder:{root}/1": "holds no class folders",
    }
    for name, says in cases.items():
        with pytest.raises(UserError, match=says):
            prepare(name)
    with pytest.raises(UserError, match=r"pictures/17: '17' is no class of digits_vgg \(digits\).*0 to 9"):
        prepare(f"imagefolder:{root}", "digits_vgg")
    (root / "5").mkdir()
    with pytest.raises(UserError, match="5: a class folder without an image"):
        prepare(f"imagefolder:{root}")


def test_labels_that_are_no_classes(prepare, folder):
    """A number beyond the last class, a word that is none, a word that is two, a model of which nothing is known."""
    root = folder({"1000": 2})
    with pytest.raises(UserError, match="'1000' is no class of resnet18"):
        prepare(f"imagefolder:{root}")
    (root / "1000").rename(root / "crane")
    with pytest.raises(UserError, match="'crane' is the label of classes 134 and 517 of resnet18"):
        prepare(f"imagefolder:{root}")
    with pytest.raises(UserError, match="labels of net:make are unknown; name its classes by index"):
        prepare(f"imagefolder:{root}", "net:make")
    (root / "crane").rename(root / "12345")
    assert [12345] == load_labels(prepare(f"imagefolder:{root}", "net:make")).tolist()


@pytest.mark.slow
def test_labels_that_only_torchvision_has(prepare, folder):
    """Its names of the classes are known too; a word that nobody has is refused."""
    root = folder({"crane bird": 2})
    assert [134] == load_labels(prepare(f"imagefolder:{root}")).tolist()
    (root / "crane bird").rename(root / "flying saucer")
    with pytest.raises(UserError, match=r"'flying saucer' is no class of resnet18 \(imagenet1k\)"):
        prepare(f"imagefolder:{root}")


@pytest.mark.slow
def test_a_data_set_of_torchvision(prepare, tmp_path):
    """Read by torchvision itself where its files are already in place; what it does not have is named."""
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in (("t10k", 6), ("train", 9)):
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(gzip.decompress(_idx(np.zeros((count, 28, 28), np.uint8))))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(gzip.decompress(_idx(np.arange(count, dtype=np.uint8))))
    name = f"torchvision:MNIST:{tmp_path}/root"
    evaluation, training = (prepare(name, "digits_vgg", split, 99) for split in ("evaluation", "training"))

    assert set(range(6)) == set(load_labels(evaluation).tolist())
    assert 9 == training.count
    with pytest.raises(UserError, match="torchvision has no data set 'NIST'"):
        prepare("torchvision:NIST", "digits_vgg")


def test_the_hub_without_its_package(prepare, monkeypatch):
    """The pip command is said before anything is tried."""
    monkeypatch.setattr("bakeoff.models.datasets.base.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs package datasets; install it with: python -m pip install datasets"):
        prepare("hf:cifar10")


def test_an_image_that_cannot_be_read(prepare, folder):
    """It is named; nothing is skipped in silence."""
    root = folder({"1": 2})
    data = (root / "1" / "0.png").read_bytes()
    for broken in (b"not a picture", data[: len(data) // 2], b""):
        (root / "1" / "0.png").write_bytes(broken)
        (root / "1" / "1.png").write_bytes(broken)
        with pytest.raises(UserError, match=r"1/[01]\.png: cannot be read as an image"):
            prepare(f"imagefolder:{root}")


def test_a_single_image_leaves_none_to_calibrate(prepare, folder):
    """What is evaluated on is never calibrated on."""
    root = folder({"1": 1})
    with pytest.raises(UserError, match="no image is left for calibration"):
        prepare(f"imagefolder:{root}", split="calibration")


def test_foolbox_or_how_to_get_it(prepare, monkeypatch):
    """Without the package: the pip command."""
    monkeypatch.setattr("bakeoff.models.datasets.base.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"python -m pip install --no-deps foolbox==3\.3\.4"):
        prepare("foolbox:imagenet")
    with pytest.raises(UserError, match="none to train on"):
        prepare("foolbox:imagenet", split="training")


def test_foolbox_photographs(prepare):
    """Ten views of twenty with labels, and photographs of others to calibrate on."""
    evaluation, calibration = prepare("foolbox:imagenet", count=500), prepare("foolbox:imagenet", split="calibration")
    labels = load_labels(evaluation)
    assert (200, 20, 1000) == (evaluation.count, evaluation.pictures, evaluation.classes)
    assert {22, 99, 990} < set(labels.tolist())
    assert (labels[:20] == labels[180:]).all()
    assert calibration.sha256 == prepare("photos", split="calibration").sha256


def _idx(array):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def test_fashion_mnist_of_a_folder(prepare, tmp_path):
    """The test files for evaluation, the training files in two parts for the rest."""
    rng = np.random.default_rng(0)
    root = tmp_path / "fashion"
    root.mkdir()
    for stem, count in (("t10k", 10), ("train", 24)):
        (root / f"{stem}-images-idx3-ubyte.gz").write_bytes(_idx(rng.integers(0, 255, (count, 28, 28), np.uint8)))
        (root / f"{stem}-labels-idx1-ubyte.gz").write_bytes(_idx(rng.integers(0, 10, count).astype(np.uint8)))
    name = f"fashion-mnist:{root}"
    counts = [prepare(name, "net:make", split, 99).count for split in ("evaluation", "calibration", "training")]

    assert [10, 4, 20] == counts
    assert "taken to be those of fashion-mnist" in prepare(name, "net:make").notes[0]
    (root / "t10k-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    with pytest.raises(UserError, match="is no whole IDX file"):
        prepare(name, "net:make")
    with pytest.raises(UserError, match=r"dataset-fashion-mnist is not installed|are those of fashion-mnist"):
        prepare("fashion-mnist")


def test_coco_pictures_and_boxes(prepare, tmp_path):
    """Half of the pictures, whole, with their own boxes; what the list and the folder disagree about is named."""
    root = tmp_path / "coco"
    root.mkdir()
    images = [{"id": 10 - i, "file_name": f"{i}.png", "width": 30 + i, "height": 20} for i in range(4)]
    for image in images:
        Image.new("RGB", (image["width"], 20), (image["id"] * 20, 0, 0)).save(root / image["file_name"])
    boxes = [{"id": i, "image_id": 10 - i % 4, "category_id": 3, "bbox": [1, 2, 5, 5]} for i in range(8)]
    content = {"images": images, "categories": [{"id": 3, "name": "thing"}], "annotations": boxes}
    listing = tmp_path / "boxes.json"
    listing.write_text(json.dumps(content))
    name = f"coco:{listing}:{root}"
    data = prepare(name)
    known = json.loads(data.annotations.read_text())

    assert ("detection", 2, False) == (data.task, data.count, data.labelled)
    assert [32, 24] == known["input"]
    assert 4 == len(known["coco"]["annotations"])
    reds = (_images(data)[:, 0].mean(axis=(1, 2)) * _SMALL.std[0] + _SMALL.mean[0]) * 255
    assert [image["id"] * 20 for image in known["images"]] == pytest.approx(reds.tolist(), abs=0.01)
    for change, says in (
        ({"images": [{**images[0], "file_name": "../boxes.json"}]}, "lies outside of"),
        ({"images": [{**images[0], "file_name": "9.png"}]}, "no such image"),
        ({"images": [{**images[0], "width": 31}]}, "is 30x20, its annotation says 31x20"),
        ({"images": [{"id": 1}]}, "is no COCO annotation file"),
        ({"images": [{**images[0], "id": "one"}]}, "is no integer"),
    ):
        listing.write_text(json.dumps({**content, **change}))
        with pytest.raises(UserError, match=says):
            prepare(name)


def test_masks_of_classes(prepare, tmp_path):
    """Stretched with the picture, classes unmixed; masks that are none are named."""
    root = tmp_path / "masks"
    for inside in ("images", "masks"):
        (root / inside).mkdir(parents=True)
    for place in range(2):
        Image.new("RGB", (48, 64), (9, 9, 9)).save(root / "images" / f"{place}.png")
        mask = np.zeros((64, 48), np.uint8)
        mask[:32] = 5
        mask[:, :8] = 255
        Image.fromarray(mask).save(root / "masks" / f"{place}.png")
    data = prepare(f"masks:{root}")
    with np.load(data.path) as stored:
        masks = stored["masks"]

    assert (1, 32, 24) == masks.shape
    assert {0, 5, 255} == set(masks.ravel().tolist())
    assert (masks[0, :16, 4:] == 5).all()
    for make, says in (
        (lambda path: Image.new("RGB", (48, 64)).save(path), "mode RGB, not of class indices"),
        (lambda path: Image.new("L", (4, 4)).save(path), "is 4x4, its image 48x64"),
        (lambda path: path.unlink(), "no such mask"),
    ):
        for place in range(2):
            make(root / "masks" / f"{place}.png")
        with pytest.raises(UserError, match=says):
            prepare(f"masks:{root}")


def test_words_for_a_recogniser(prepare):
    """Seeded words at the left of the picture, zeros behind, and the characters of the model's own file."""
    data = prepare("words", "rapidocr_rec", count=6)
    known = json.loads(data.annotations.read_text())

    assert ("text-recognition", 6) == (data.task, len(known["texts"]))
    assert 6625 == len(known["characters"])
    assert ["", " "] == [known["characters"][0], known["characters"][-1]]
    assert (6, 3, 48, 320) == _images(data).shape
    other = json.loads(prepare("words", "rapidocr_rec", "calibration", 6).annotations.read_text())
    assert known["texts"] != other["texts"]


def test_words_for_what_reads_none(prepare):
    """A classifier recognises no text."""
    with pytest.raises(UserError, match="resnet18 recognises no text"):
        prepare("words")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 3, 32, 24)), "is float64, not float32"),
        (np.zeros((3, 32, 24), np.float32), r"has the shape \(3, 32, 24\), not \(N, 3, 32, 24\)"),
        (np.zeros((2, 1, 32, 24), np.float32), "has the shape"),
        (np.zeros((0, 3, 32, 24), np.float32), "holds no image"),
        (np.full((2, 3, 32, 24), np.nan, np.float32), "NaN or infinite values in 2 of 2 images"),
    ],
)
def test_calibration_data_is_checked(array, says):
    """Wrong shape, dtype or values: one line."""
    with pytest.raises(UserError, match=says):
        check_calibration(array, _SMALL)


def test_good_calibration_data_passes():
    """Nothing is said, and nothing raised."""
    assert check_calibration(np.zeros((1, 3, 32, 24), np.float32), _SMALL) is None


def test_preparing_that_takes_too_long_fails(tmp_path):
    """It is stopped and blamed on the stage."""
    spec = resolve("digits_vgg")
    with pytest.raises(StageError, match="data took longer than") as caught:
        prepare_data("digits", spec, spec.input, split="evaluation", count=1, seed=0, cache=tmp_path, timeout_s=0.001)
    assert "data" == caught.value.stage
