"""Worlds: captioned clips rendered from a known state (the simulators are the extra [worlds]).

A world is a folder behind the interface of world.py:

    NAME/__init__.py    a docstring: one line that describes the world in docs/worlds.md
    NAME/world.py       the class with `make`, `parse` and `detect`, and its instance WORLD
    NAME/facts.py       from the states of a clip's frames to its slots
    NAME/captions.py    a Grammar (grammar.py) with `write` and `read`
    NAME/detector.py    `detect`: from frames to slots with a confidence
    NAME/scene.py       what a clip shows, drawn at random (where the world has a scene), and
    NAME/game.py        the simulator and who plays in it (where the world is a game)

A detector sees no state: it builds states from pixels and hands them to facts.py, or it names the
slots itself. Only world.py imports the detector. To add a world, write these files, add the name to
WORLDS in world.py and its simulator to setup.py and to SIMULATORS in tests/worlds/test_world.py.
Those tests then check what every world promises.
"""
