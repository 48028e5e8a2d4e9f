import dataclasses

from entropy_rl.alarms import EntropyAlarm


def test_collapse_and_explosion_are_said_once():
    alarm = EntropyAlarm(collapse=0.5, explosion=2.0)
    assert alarm.observe(0, 0.4, 0.1) is None
    assert alarm.observe(1, 0.3, 0.1) is None
    message = alarm.observe(2, 0.1, 0.5)
    assert "collapse at step 2" in message and "25%" in message and "0.4 at the start" in message
    assert alarm.observe(3, 0.1, 0.5) is None
    assert "explosion at step 4" in alarm.observe(4, 0.9, 0.5)


def test_its_memory_survives_a_restart():
    alarm = EntropyAlarm(collapse=0.5, explosion=2.0)
    alarm.observe(0, 0.4, 0.1), alarm.observe(1, 0.1, 0.1)
    again = EntropyAlarm(**dataclasses.asdict(alarm))
    assert again.observe(2, 0.1, 0.1) is None and again.first == 0.4
