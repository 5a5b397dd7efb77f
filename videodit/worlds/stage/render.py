"""Draws the stage with Panda3D's software renderer, which needs no window and no graphics driver.

Frames are drawn at twice their size and averaged, which smooths the edges.
"""

import atexit
import contextlib
import functools
import os
from collections.abc import Iterator

import numpy as np
import panda3d
from panda3d import core

from videodit.config import ConfigError
from videodit.worlds.stage import props
from videodit.worlds.stage.scene import COLORS
from videodit.worlds.stage.space import Scene, Thing, half_extents, positions, view
from videodit.worlds.world import Shape

SMOOTH = 2  # drawn pixels across each pixel of a frame
NEAR, FAR = 0.5, 150.0  # metres: nothing closer or farther is drawn
SETTINGS = f"""
load-display p3tinydisplay
aux-display
audio-library-name null
notify-level error
garbage-collect-states 0
model-cache-dir
model-path {os.path.join(os.path.dirname(panda3d.__file__), "models")}
"""
WALK_STRIDE = 1.5  # the way of a panda in one cycle of its walk, in radii


def render(scene: Scene, shape: Shape) -> np.ndarray:
    """The clip's frames: uint8 T H W 3, RGB. Raises ConfigError where the renderer cannot start."""
    root = core.NodePath("stage")
    rng = np.random.default_rng(scene.seed)
    props.surroundings(root, scene.place, rng)
    if scene.occluder is not None:
        props.stand_occluder(root, scene.occluder, rng)
    props.light(root)
    things = [_Shown(root, thing) for thing in scene.things]
    camera = _camera(root, shape)
    frames = np.empty((shape.frames, shape.height, shape.width, 3), np.uint8)
    places = positions(scene, shape)
    canvas = _canvas(shape.width * SMOOTH, shape.height * SMOOTH)
    with canvas.seen_by(camera):
        for i, frame in enumerate(frames):
            seen = view(scene, shape, i)
            camera.set_pos(*seen.position)
            camera.look_at(*seen.target)
            for thing, way in zip(things, places[: i + 1].swapaxes(0, 1)):
                thing.move(way)
            frame[:] = _averaged(canvas.draw())
    root.clear_light()  # root and lights refer to each other, which would keep both in memory
    root.remove_node()
    return frames


def _camera(root: core.NodePath, shape: Shape) -> core.NodePath:
    """Adds the camera."""
    lens = core.PerspectiveLens()
    wide, high = half_extents(shape)
    lens.set_film_size(2 * wide, 2 * high)
    lens.set_focal_length(1)
    lens.set_near_far(NEAR, FAR)
    return root.attach_new_node(core.Camera("camera", lens))


class _Shown:
    """An object on the stage and its shadow."""

    def __init__(self, root: core.NodePath, thing: Thing):
        self.thing = thing
        self.node = root.attach_new_node("thing")
        self.shadow = props.shadow(root, thing.radius)
        if thing.kind in props.SHAPES:
            body = self.node.attach_new_node(props.mesh(props.SHAPES[thing.kind]()))
            body.set_texture(props.spots())
        else:
            body = props.model(thing.kind).copy_to(self.node)
        if thing.kind == "panda":
            body.set_color_scale(*props.tint(COLORS[thing.color]), 1)
            self.walk = core.AnimControlCollection()
            core.auto_bind(body.node(), self.walk, ~0)
        else:
            body.set_color(*COLORS[thing.color], 1)
        self.node.set_scale(thing.radius)
        self.body = body
        self.rolling = thing.kind == "ball" and thing.motion == "slide"

    def move(self, way: np.ndarray) -> None:
        """Moves the object to the last of the points (frames, 3) that it has passed so far."""
        x, y, z = way[-1]
        self.node.set_pos(x, y, z)
        self.node.set_h(self.thing.heading)
        self.shadow.set_pos(x, y, 0.01)
        self.shadow.set_alpha_scale(max(0.15, 1 - 0.35 * z))
        gone = (way[-1] - way[0])[:2] / self.thing.radius
        if self.rolling:
            self._roll(*gone)
        elif self.thing.kind == "panda":
            self._step(float(np.hypot(*gone)))

    def _roll(self, across: float, along: float) -> None:
        """Turns the ball as if it had rolled so many radii in x and y."""
        axis = core.Vec3(-along, across, 0)
        turn = core.Quat()
        if axis.normalize():
            turn.set_from_axis_angle_rad(float(np.hypot(across, along)), axis)
        self.node.set_h(0)
        middle = turn.xform(core.Vec3(0, 0, 1))
        self.body.set_quat(turn)
        self.body.set_pos(core.Vec3(0, 0, 1) - middle)

    def _step(self, gone: float) -> None:
        """Poses the panda as if it had walked so many radii."""
        walk = self.walk.get_anim(0)
        walk.pose(gone / WALK_STRIDE * walk.get_num_frames() % walk.get_num_frames())


@functools.cache
def _engine() -> tuple[core.GraphicsEngine, core.GraphicsPipe]:
    """Panda3D's engine and software renderer. Raises ConfigError where these cannot be loaded."""
    core.load_prc_file_data("", SETTINGS)
    selection = core.GraphicsPipeSelection.get_global_ptr()
    pipe = selection.make_pipe("TinyOffscreenGraphicsPipe", "p3tinydisplay")
    if pipe is None:
        raise ConfigError(
            "world='stage': Panda3D's renderer p3tinydisplay cannot be loaded; it needs the "
            "library libX11.so.6 (Debian and Ubuntu: apt install libx11-6)"
        )
    engine = core.GraphicsEngine.get_global_ptr()
    atexit.register(engine.remove_all_windows)  # else Panda3D may crash when Python ends
    return engine, pipe


class _Canvas:
    """A buffer to draw into, of this size in pixels.

    One is kept for each size, because Panda3D does not free their memory.
    """

    def __init__(self, width: int, height: int):
        self.height, self.width = height, width
        self.engine, pipe = _engine()
        kind = core.FrameBufferProperties()
        kind.set_rgb_color(True)
        kind.set_depth_bits(24)
        size = core.WindowProperties.size(width, height)
        no_window = core.GraphicsPipe.BF_refuse_window
        self.buffer = self.engine.make_output(pipe, "stage", 0, kind, size, no_window)
        self.picture = core.Texture()
        copy, color = core.GraphicsOutput.RTM_copy_ram, core.GraphicsOutput.RTP_color
        self.buffer.add_render_texture(self.picture, copy, color)
        self.region = self.buffer.make_display_region()

    @contextlib.contextmanager
    def seen_by(self, camera: core.NodePath) -> Iterator[None]:
        """Within this context, `draw` shows what the camera sees."""
        self.buffer.set_active(True)
        self.region.set_camera(camera)
        try:
            yield
        finally:
            self.region.set_camera(core.NodePath())
            self.buffer.set_active(False)

    def draw(self) -> np.ndarray:
        """uint8 height width 3, RGB."""
        self.engine.render_frame()
        data = np.frombuffer(self.picture.get_ram_image_as("RGB"), np.uint8)
        return data.reshape(self.height, self.width, 3)[::-1]


_canvas = functools.cache(_Canvas)


def _averaged(drawn: np.ndarray) -> np.ndarray:
    """A drawn picture at the size of a frame, uint8; means are rounded."""
    height, width = (side // SMOOTH for side in drawn.shape[:2])
    squares = drawn.reshape(height, SMOOTH, width, SMOOTH, 3)
    total = squares.astype(np.uint16).sum((1, 3), dtype=np.uint16)
    return ((total + SMOOTH**2 // 2) // SMOOTH**2).astype(np.uint8)
