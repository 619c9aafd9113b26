import pytest

from bot.admission import Admission, Busy, Finished


def test_an_update_is_worked_on_once():
    admission = Admission(max_in_flight=8)
    with admission.claim(1), pytest.raises(Busy), admission.claim(1):
        pytest.fail("claimed twice")
    with pytest.raises(Finished), admission.claim(1):
        pytest.fail("worked on again")


def test_failed_work_may_be_done_again():
    admission = Admission(max_in_flight=8)
    with pytest.raises(TimeoutError), admission.claim(1):
        raise TimeoutError
    with admission.claim(1):
        pass
    with pytest.raises(Finished), admission.claim(1):
        pytest.fail("worked on again")


def test_work_in_flight_is_bounded():
    admission = Admission(max_in_flight=2)
    with admission.claim(1):
        with admission.claim(2), pytest.raises(Busy), admission.claim(3):
            pytest.fail("a third at once")
        with admission.claim(3):
            pass
