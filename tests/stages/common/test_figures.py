"""Figures inside pages."""

from matplotlib.figure import Figure

from stages.common.figures import figure_svg, plain_text


def test_a_figure_becomes_an_element_in_the_pages_colours() -> None:
    with plain_text():
        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.add_subplot(title="</svg><script>")
        axes.errorbar([1, 2], [1, 2], [0.1, 0.2], fmt="o-", color="#0072B2", label="$x$")
        axes.legend()
    drawing = figure_svg(figure, label='"a" & <b>')
    assert drawing.startswith('<svg viewBox="0 0 288 216" ')
    assert drawing.count("<svg") == drawing.count("</svg>") == 1
    assert 'role="img" aria-label="&quot;a&quot; &amp; &lt;b&gt;"' in drawing
    assert "<script" not in drawing
    assert "$x$" in drawing
    assert "stroke: #0072b2" in drawing
    assert not [text for text in ("#000000", "#ffffff", "<style", "font-family", 'id="axes') if text in drawing]
    assert drawing == figure_svg(figure, label='"a" & <b>')
    assert 'aria-hidden="true"' in figure_svg(figure)
