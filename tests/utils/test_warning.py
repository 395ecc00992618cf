from aird_plugin.utils.warning import warn


def test_a_warning_is_one_line_on_stderr_and_no_text_is_none(capsys):
    warn("")
    warn("3 images left out")
    assert capsys.readouterr() == ("", "WARNING 3 images left out\n")
