package carrier

import "bytes"

// The page of a challenge, around its text.
const (
	pageHead = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Continue</title></head>` +
		`<body><form method="post"><input type="hidden" name="q" value="`
	pageTail = `"><button>Continue</button></form></body></html>
`
	maxText = MaxChallenge / 3 * 4

	// PageType is the media type of the page.
	PageType = "text/html; charset=utf-8"
	// MaxPage is the number of bytes of the longest page.
	MaxPage = len(pageHead) + maxText + len(pageTail)
)

// AppendText appends the text of a challenge of 1 to MaxChallenge bytes: the one
// string of a TXT record. The server must not make a longer challenge.
func AppendText(dst, challenge []byte) []byte { return base64.append(dst, challenge) }

// ParseText appends the challenge of a text. If it is not Accepted, dst is returned
// as it is.
func ParseText(dst, text []byte) ([]byte, Reason) {
	if len(text) == 0 || len(text) > maxText {
		return dst, Form
	}
	b, reason := base64.parse(dst, text)
	if reason != Accepted {
		return dst, reason
	}
	return b, Accepted
}

// AppendPage appends the page of a challenge of 1 to MaxChallenge bytes.
func AppendPage(dst, challenge []byte) []byte {
	return append(AppendText(append(dst, pageHead...), challenge), pageTail...)
}

// ParsePage appends the challenge of a page. If it is not Accepted, dst is returned as
// it is.
func ParsePage(dst, page []byte) ([]byte, Reason) {
	text, head := bytes.CutPrefix(page, []byte(pageHead))
	text, tail := bytes.CutSuffix(text, []byte(pageTail))
	if !head || !tail {
		return dst, Form
	}
	return ParseText(dst, text)
}
