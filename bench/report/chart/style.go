package chart

// Style is the colour and the shape of a configuration.
type Style int

// The styles. A configuration has the same one in all pictures.
const (
	Plain     Style = iota // no configuration
	Socket                 // no filter
	Filter                 // the socket's filter
	Shield                 // the shield's program at the driver
	Reference              // not the server
)

func (s Style) class() string {
	return [...]string{"plain", "socket", "filter", "shield", "reference"}[s]
}

// Class returns the class of text in this style, for pages.
func (s Style) Class() string { return "ink-" + s.class() }
