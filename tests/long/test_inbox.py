"""What takes minutes at the inbox: `make long`."""

from __future__ import annotations

import pytest

from tests.acceptance.harness import House
from tests.acceptance.uploads import each_is_taken_once


@pytest.mark.timeout(1200)
def test_200_uploads_by_two_writers_before_two_watchers_of_which_one_is_killed_are_200_batches(house: House) -> None:
    each_is_taken_once(house, uploads=200)
