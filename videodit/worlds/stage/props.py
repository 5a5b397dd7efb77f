"""The stage's parts as Panda3D nodes: ground, sky, things that stand around, light, shadows."""

import functools

import numpy as np
from panda3d import core

from videodit.worlds.stage import geometry
from videodit.worlds.stage.geometry import Surface
from videodit.worlds.stage.scene import GROUNDS
from videodit.worlds.stage.space import Occluder

SKY_RADIUS, SKY_HEIGHT = 100.0, 90.0
GROUND, TILE = 100.0, 16.0  # metres: half the side of the ground; the side of its texture
SKIES = {  # colours at the horizon and at the top: RGB, 0 to 255
    "meadow": ((218, 232, 240), (150, 190, 228)),
    "desert": ((248, 236, 214), (200, 214, 222)),
    "snowfield": ((232, 236, 240), (186, 198, 212)),
    "plaza": ((228, 226, 224), (186, 190, 200)),
    "moon": ((16, 16, 22), (6, 6, 10)),
}
# Std of the noise on the ground, relative to its colour.
ROUGHNESS = {"meadow": 0.13, "desert": 0.07, "snowfield": 0.035, "plaza": 0.05, "moon": 0.16}
SHAPES = {
    "ball": geometry.ball,
    "cube": geometry.box,
    "cylinder": geometry.cylinder,
    "cone": geometry.cone,
    "ring": geometry.ring,
}


def surroundings(root: core.NodePath, place: str, rng: np.random.Generator) -> None:
    """Adds the ground, the sky, and 40 things that stand around in the distance."""
    root.set_two_sided(True)
    ground = root.attach_new_node(mesh(_ground()))
    ground.set_texture(texture(_ground_picture(place, rng), repeat=True))
    ground.set_light_off(1)
    ground.set_bin("background", 1)
    ground.set_depth_write(False)
    sky = root.attach_new_node(mesh(_sky()))
    sky.set_texture(texture(_sky_picture(place, rng)))
    sky.set_light_off(1)
    sky.set_bin("background", 0)
    sky.set_depth_write(False)
    for _ in range(40):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(11, 40)
        prop = _PROPS[place](rng)
        prop.reparent_to(root)
        prop.set_pos(far * np.cos(angle), far * np.sin(angle), 0)
        prop.set_h(rng.uniform(0, 360))


def stand_occluder(root: core.NodePath, occluder: Occluder, rng: np.random.Generator) -> None:
    """Adds a stone wall or a pillar."""
    if occluder.kind == "wall":
        surface = geometry.box(occluder.width, occluder.depth, occluder.height)
    else:
        surface = geometry.cylinder(occluder.width / 2, occluder.height)
    node = root.attach_new_node(mesh(surface))
    node.set_texture(texture(_stone_picture(rng, occluder.kind)))
    node.set_pos(*occluder.middle, 0)


def light(root: core.NodePath) -> None:
    """Adds daylight from the front, the left and above."""
    around = core.AmbientLight("around")
    around.set_color((0.6, 0.6, 0.6, 1))
    sun = core.DirectionalLight("sun")
    sun.set_color((0.4, 0.4, 0.4, 1))
    sun.set_direction(core.Vec3(0.5, 0.7, -0.8))
    for node in (around, sun):
        root.set_light(root.attach_new_node(node))


def shadow(root: core.NodePath, radius: float) -> core.NodePath:
    """Adds a soft dark disc that lies beneath an object of this radius."""
    corners = np.array([[[-1, -1, 0], [1, -1, 0]], [[-1, 1, 0], [1, 1, 0]]]) * 1.25 * radius
    node = root.attach_new_node(mesh(geometry.sheet(corners, np.array([0, 0, 1]))))
    node.set_texture(texture(_shadow_picture()))
    node.set_transparency(core.TransparencyAttrib.M_alpha)
    node.set_light_off(1)
    node.set_bin("background", 2)
    node.set_depth_write(False)
    return node


@functools.cache
def spots() -> core.Texture:
    """Faint darker and lighter patches, which make it visible that an object turns."""
    clouds = geometry.noise(np.random.default_rng(0), 64, 64, 6)
    grey = np.clip(0.93 + 0.07 * clouds, 0.7, 1)[..., None] * np.ones(3)
    return texture(grey, repeat=True)


def tint(color: tuple[float, float, float]) -> tuple[float, ...]:
    """A colour for the panda's white fur: a little paler."""
    return tuple(0.1 + 0.9 * part for part in color)


def texture(picture: np.ndarray, repeat: bool = False) -> core.Texture:
    """A texture from float (height, width, 3 or 4), RGB or RGBA, 0 to 1; the first row is v = 1."""
    height, width, depth = picture.shape
    result = core.Texture()
    kind = core.Texture.F_rgb if depth == 3 else core.Texture.F_rgba
    result.setup_2d_texture(width, height, core.Texture.T_unsigned_byte, kind)
    order = [2, 1, 0, 3][:depth]
    data = (picture[::-1, :, order].clip(0, 1) * 255).round().astype(np.uint8)
    result.set_ram_image(data.tobytes())
    result.set_minfilter(core.SamplerState.FT_linear_mipmap_linear)
    result.set_magfilter(core.SamplerState.FT_linear)
    wrap = core.SamplerState.WM_repeat if repeat else core.SamplerState.WM_clamp
    result.set_wrap_u(core.SamplerState.WM_repeat)
    result.set_wrap_v(wrap)
    return result


def mesh(surface: Surface) -> core.GeomNode:
    """A surface as a node of Panda3D."""
    kind = core.GeomVertexFormat.get_v3n3t2()
    data = core.GeomVertexData("", kind, core.Geom.UH_static)
    rows = np.concatenate(surface[:3], axis=1).astype(np.float32)
    data.unclean_set_num_rows(len(rows))
    data.modify_array_handle(0).copy_data_from(rows.tobytes())
    triangles = core.GeomTriangles(core.Geom.UH_static)
    triangles.set_index_type(core.Geom.NT_uint32)
    corners = triangles.modify_vertices()
    corners.unclean_set_num_rows(surface.triangles.size)
    corners.modify_handle().copy_data_from(surface.triangles.astype(np.uint32).tobytes())
    triangles.set_vertices(corners)
    geom = core.Geom(data)
    geom.add_primitive(triangles)
    node = core.GeomNode("")
    node.add_geom(geom)
    return node


@functools.cache
def model(kind: str) -> core.NodePath:
    """Panda3D's teapot or panda, which stands on the ground and has a radius of about 1."""
    load = core.Loader.get_global_ptr().load_sync
    if kind == "teapot":
        model = core.NodePath(load(core.Filename("teapot")))
        model.set_scale(0.4)
    else:
        model = core.NodePath(load(core.Filename("panda-model")))
        core.NodePath(load(core.Filename("panda-walk4"))).reparent_to(model)
        model.set_scale(0.0026)
    holder = core.NodePath(kind)
    model.reparent_to(holder)
    return holder


def _ground() -> Surface:
    line = np.linspace(-GROUND, GROUND, 21)
    x, y = np.meshgrid(line, line)
    points = np.stack([x, y, 0 * x], -1)
    return geometry.sheet(points, np.array([0, 0, 1]), (2 * GROUND / TILE,) * 2)


def _sky() -> Surface:
    around = np.linspace(0, 2 * np.pi, 33)
    ring = SKY_RADIUS * np.stack([np.cos(around), np.sin(around), 0 * around], -1)
    return geometry.sheet(np.stack([ring - (0, 0, 1), ring + (0, 0, SKY_HEIGHT)]), np.zeros(3))


def _ground_picture(place: str, rng: np.random.Generator) -> np.ndarray:
    size = 256
    base = np.array(GROUNDS[place]) / 255
    rough = geometry.noise(rng, size, size, 3)[..., None] * ROUGHNESS[place]
    if place == "plaza":
        y, x = np.mgrid[:size, :size] // (size // 8)
        rough = rough + np.where((x + y) % 2, 0.14, -0.14)[..., None]
    if place == "meadow":
        tone = geometry.noise(rng, size, size, 8)[..., None]
        base = base * (1 + 0.12 * tone * np.array([1.2, 0.5, 0.3]))
    return base * (1 + rough)


def _sky_picture(place: str, rng: np.random.Generator) -> np.ndarray:
    height, width = 64, 512
    low, high = (np.array(color) / 255 for color in SKIES[place])
    up = np.linspace(1, 0, height)[:, None, None] ** 0.6
    sky = low + (high - low) * up
    if place == "moon":
        stars = rng.random((height, width, 1)) > 0.992
        return np.where(stars, rng.uniform(0.5, 1, (height, width, 1)), sky)
    clouds = geometry.noise(rng, height, width, 4)[..., None]
    return sky + (1 - sky) * np.clip(0.5 * clouds, 0, 0.8)


def _stone_picture(rng: np.random.Generator, kind: str) -> np.ndarray:
    size = 64
    grey = 0.62 + 0.05 * geometry.noise(rng, size, size, 2)
    y, x = np.mgrid[:size, :size]
    if kind == "wall":
        row = y // 8
        seams = (y % 8 == 0) | ((x + 8 * (row % 2)) % 16 == 0)
    else:
        seams = x % 8 == 0
    return np.where(seams, grey * 0.7, grey)[..., None] * np.array([1, 0.97, 0.94])


def _shadow_picture() -> np.ndarray:
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    dark = 0.5 * np.clip(1.6 * (1 - np.hypot(x, y)), 0, 1)
    return np.stack([0 * x, 0 * x, 0 * x, dark], -1)


def _solid(surface: Surface, color: np.ndarray) -> core.NodePath:
    node = core.NodePath(mesh(surface))
    node.set_color(*np.clip(color, 0, 1).tolist(), 1)
    return node


def _tree(rng: np.random.Generator) -> core.NodePath:
    tree, green = core.NodePath("tree"), np.array([0.29, 0.37, 0.23]) * rng.uniform(0.8, 1.2)
    _solid(geometry.cylinder(0.22, 1.2), np.array([0.36, 0.31, 0.27])).reparent_to(tree)
    crown = _solid(geometry.ball(8, 12), green)
    crown.set_scale(rng.uniform(1.0, 1.5), rng.uniform(1.0, 1.5), rng.uniform(0.9, 1.4))
    crown.set_z(0.9)
    crown.reparent_to(tree)
    tree.set_scale(rng.uniform(0.8, 1.6))
    return tree


def _fir(rng: np.random.Generator) -> core.NodePath:
    tree, green = core.NodePath("fir"), np.array([0.27, 0.37, 0.33]) * rng.uniform(0.8, 1.2)
    for i in range(3):
        _solid(geometry.cone(1.1 - 0.28 * i, 1.5, 0.5 + 0.8 * i), green).reparent_to(tree)
    tree.set_scale(rng.uniform(0.8, 1.5))
    return tree


def _rock(rng: np.random.Generator) -> core.NodePath:
    surface = geometry.ball(7, 9)
    bumps = 1 + 0.2 * rng.standard_normal((7, 10))
    bumps[:, -1] = bumps[:, 0]
    points = surface.points * bumps.reshape(-1, 1)
    rock = _solid(surface._replace(points=points), np.array([0.45, 0.41, 0.38]))
    rock.set_scale(*rng.uniform(0.5, 1.6, 2), rng.uniform(0.3, 1.0))
    return rock


def _column(rng: np.random.Generator) -> core.NodePath:
    column, grey = core.NodePath("column"), np.array([0.78, 0.77, 0.75])
    height = rng.uniform(3, 6)
    _solid(geometry.cylinder(0.45, height), grey).reparent_to(column)
    for z in (0, height):
        cap = _solid(geometry.box(1.3, 1.3, 0.3), grey)
        cap.set_z(z)
        cap.reparent_to(column)
    return column


_PROPS = {
    "meadow": _tree,
    "desert": _rock,
    "snowfield": _fir,
    "plaza": _column,
    "moon": _rock,
}
