"""unpack_wheel.py WHEEL PREFIX FOLDER: the files under PREFIX of a wheel (a zip file) into FOLDER, modes kept."""
import os
import pathlib
import shutil
import sys
import zipfile


def main() -> int:
    wheel, prefix, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if info.is_dir() or not info.filename.startswith(prefix):
                continue
            relative = pathlib.PurePosixPath(info.filename[len(prefix):])
            if ".." in relative.parts or relative.is_absolute():
                print(f"{wheel} holds a file outside its own folder: {info.filename}", file=sys.stderr)
                return 1
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            if mode := info.external_attr >> 16 & 0o777:
                os.chmod(target, mode | 0o600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
