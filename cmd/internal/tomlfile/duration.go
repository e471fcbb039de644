package tomlfile

import "time"

// Duration reads the text of a key as a duration such as "10s". An empty text
// is the default.
func (f *File) Duration(key, text string, byDefault time.Duration) (time.Duration, error) {
	if text == "" && !f.Has(key) {
		return byDefault, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, f.Errorf(key, "got no duration")
	}
	return d, nil
}
