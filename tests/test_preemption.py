import os
import signal

from videodit.preemption import Preemption


def test_sigterm_is_heard_until_it_is_closed():
    before = signal.getsignal(signal.SIGTERM)
    preemption = Preemption()
    assert not preemption.reached(1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.reached(2)
    preemption.close()
    assert signal.getsignal(signal.SIGTERM) == before
