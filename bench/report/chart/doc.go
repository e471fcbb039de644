// Package chart draws the pictures of a report as SVG: rows of dots with ranges and
// of bars (Rows), and lines (Lines). It knows nothing of what it draws.
//
//	Rows, Lines   the content, with a Style for each configuration
//	Inline        for a page: the picture twice, for wide and for narrow screens,
//	              of which the style sheet shows one
//	Document      a file: the wide picture with the style sheet inside
//	CSS           the style sheet: colours for light and dark, sizes of text
//
// # Why not a library
//
// The first report was drawn by gonum.org/v1/plot. It brings eight more modules
// (fonts, LaTeX, PDF, two rasterizers), writes text in fonts that it brings, knows no
// style sheet, so one picture cannot be both light and dark, and has no dots with
// ranges in rows, which are most of the pictures here. Labels beside the data, instead
// of a legend, have to be placed by hand with it too. The rest of its work, scales and
// ticks, is in scale.go, and shorter than the code that adapted the library.
//
// Text in the pictures is text, in the font of the reader's system. The width of a text
// is therefore estimated, generously (see textWidth).
//
// Colours are those of Okabe and Ito, which people with the usual kinds of colour
// blindness can distinguish; each style has a shape as well.
package chart
