from videodit import compiler_flags
from videodit.compiler_flags import FLAGS, compiler_options, is_known


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch, caplog, mesh):
    options = {"xla_cpu_enable_fast_math": False, "xla_cpu_no_such_option": True}
    monkeypatch.setitem(compiler_flags.FLAGS, "cpu", options)
    with mesh(fsdp=8):
        assert compiler_options() == {"xla_cpu_enable_fast_math": False}
    assert "xla_cpu_no_such_option" in caplog.text
    assert is_known("xla_cpu_enable_fast_math", False)


def test_each_platform_has_its_own():
    assert compiler_options() == {}  # of a CPU
    for platform, options in FLAGS.items():
        of_tpu = ("xla_tpu_", "xla_jf_", "xla_enable_async_")
        prefixes = of_tpu if platform == "tpu" else ("xla_gpu_",)
        assert options and all(name.startswith(prefixes) for name in options)
