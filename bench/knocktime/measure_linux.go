package knocktime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"sallyport/verify/challenge"
)

// again is how often a row is measured once more when it is off: what shares
// the processor may have disturbed it.
const again = 2

// Measure measures the rows one after the other, each so many times, and
// returns their medians. A row of two encodings has that of the worse one.
// Progress is told before each row how many of how many are done.
func Measure(ctx context.Context, rows []Row, rounds int, progress func(done, of int, what string)) ([]time.Duration, error) {
	l, err := NewLink()
	if err != nil {
		return nil, err
	}
	defer l.Close()
	measured := make([]time.Duration, len(rows))
	for i, r := range rows {
		progress(i, len(rows), r.String())
		for _, e := range r.Encodings() {
			took, err := l.measure(ctx, r, e, rounds)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", r, e.Scheme, err)
			}
			if model := r.Model().Time; (took-model).Abs() >= (measured[i]-model).Abs() || measured[i] == 0 {
				measured[i] = took
			}
		}
	}
	progress(len(rows), len(rows), "done")
	return measured, nil
}

func (l *Link) measure(ctx context.Context, r Row, e challenge.Encoding, rounds int) (time.Duration, error) {
	var all []time.Duration
	for n := 0; n < rounds || n < rounds+again && r.off(median(all)); n++ {
		took, err := l.Exchange(ctx, r, e)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("an exchange did not end in time, something of it was lost: %w", err)
		}
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	return median(all), nil
}

// median is the lower one of two in the middle.
func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)-1)/2]
}
