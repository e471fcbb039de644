package report

import "io"

func (res Result) HTML(w io.Writer) error { return nil }
