from __future__ import annotations

from keras_retina.data.reading.folder import find_layout


def unread(root):
    return sorted((item.kind, str(item.where).removeprefix(f"{root}/")) for item in find_layout(root).unread())


def test_a_complete_folder_has_nothing_that_is_not_read(pets, pairs):
    files = {
        "images/train/.hidden.jpg": None,
        "__MACOSX/a.jpg": None,
        "Thumbs.db": "",
        "labels/train/classes.txt": "cat\ndog",
    }
    root = pets({"data.yaml": "train: images/train\nnames: [cat, dog]\n", "README.roboflow.txt": "5 images", **files,
                 **pairs("images/train/a.jpg", "labels/train/a.txt")})  # fmt: skip
    assert unread(root) == []


def test_every_image_and_label_in_no_split_is_named(pets, pairs):
    files = {
        **pairs("images/train/a.jpg", "labels/train/a.txt"),
        **pairs("images/extra/b.jpg", "labels/extra/b.txt"),
        "images/c.jpg": None,
        "labels/train/d.txt": "1 0.5 0.5 0.2 0.4",
        "images/train/e.tga": "",
        "labels/train/e.txt": "1 0.5 0.5 0.2 0.4",
    }
    root = pets({"data.yaml": "train: images/train\nnames: [cat, dog]\n", **files})
    assert unread(root) == [
        ("label_without_image", "labels/train/d.txt"),
        ("not_in_any_split", "images/extra/b.jpg"),
        ("stray_file", "images/train/e.tga"),
        ("unlabelled_image", "images/c.jpg"),
    ]
    assert all(item.fixed for item in find_layout(root).unread())


def test_images_that_a_list_leaves_out_are_named(pets, pairs):
    files = {**pairs("a.jpg", "a.txt"), **pairs("b.jpg", "b.txt"), "train.txt": "a.jpg"}
    assert unread(pets({"classes.txt": "cat\ndog", **files})) == [("not_in_any_split", "b.jpg")]


def test_only_the_folders_of_a_named_file_are_looked_through(pets, pairs):
    elsewhere = pets({**pairs("images/a.jpg", "labels/a.txt"), "photo.jpg": None}, folder="elsewhere")
    code = pets(
        {"pets.yaml": f"path: {elsewhere}\ntrain: images\nnames: [cat, dog]\n", "logo.png": None}, folder="code"
    )
    assert list(find_layout(code / "pets.yaml").unread()) == []
