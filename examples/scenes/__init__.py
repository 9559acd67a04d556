"""Render scripted scenes with known truth: people who walk, meet, fight or fall in a real courtyard.

Motion-capture figures of pybullet (zlib licence) are posed, drawn with its TinyRenderer and put into ``vtest.avi`` of
Debian's opencv-doc package, where real pedestrians keep walking behind and in front of them. The virtual camera stands
where the real one stood, so figures have the size and the perspective of pedestrians. A scene follows from its seed.

    python -m examples.scenes clips build/scenes --count 150 --seed 1
    python -m examples.scenes demo consumers/footage

How a scene becomes frames, and in which module:

    choreography ─▶ actors, fighting ─▶ poses ─▶ figures ─▶ stage ─────────▶ picture ────────────▶ films
    what happens    verbs               (T, 43)  bodies     colour, mask     backdrop, sensor      H.264, labels

World: metres, y up, the camera above the origin looking along -z.
"""
