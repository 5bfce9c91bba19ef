from convarium.data.packed.verify import verify


def test_a_dataset_as_it_was_written_has_nothing_wrong(packed, in_memory):
    assert verify(str(packed)) == []
    assert verify(in_memory) == []


def test_each_file_that_is_not_as_written_is_named(packed):
    first, second, third = sorted(packed.glob("train-*.*"))[:3]
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[:-1])
    third.unlink()
    wrong = sorted(line.partition(": ")[2] for line in verify(str(packed)))
    length = second.stat().st_size
    assert wrong == sorted(
        [
            f"{first.name}: its checksum differs",
            f"{second.name}: {length:,} bytes long, not {length + 1:,}",
            f"no file {third.name}",
        ]
    )
