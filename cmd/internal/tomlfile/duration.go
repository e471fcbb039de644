package tomlfile

import (
	"fmt"
	"strings"
	"time"

	"sallyport/sessions/durations"
)

// Duration parses the text of a key as a duration such as "10s". If the file does
// not have the key, it returns the default.
func (f *File) Duration(key, text string, byDefault time.Duration) (time.Duration, error) {
	if text == "" && !f.Has(key) {
		return byDefault, nil
	}
	d, err := durations.Parse(text)
	if err != nil {
		return 0, f.Errorf(key, "%s", NotDuration(text))
	}
	return d, nil
}

// NotDuration describes a text that is not a duration, for Errorf. It repeats only
// a number.
func NotDuration(text string) string {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		return fmt.Sprintf("got %q without a unit; write %q, or another unit (%s)", text, text+"s", durations.Units)
	}
	return "got text that is not a duration; write numbers with units (" + durations.Units + "), such as \"1m30s\""
}
