"""The stage: objects in a textured 3D scene, seen by a moving camera (Panda3D)."""
