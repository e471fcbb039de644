package tomlfile

import "time"

// Duration parses the text of a key as a duration such as "10s". If the file does
// not have the key, it returns the default.
func (f *File) Duration(key, text string, byDefault time.Duration) (time.Duration, error) {
	if text == "" && !f.Has(key) {
		return byDefault, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, f.Errorf(key, "got text that is not a duration")
	}
	return d, nil
}
