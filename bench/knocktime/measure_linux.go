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

// retries is how often a row that is off is measured again: another program on
// the same processor may have disturbed it.
const retries = 2

// Measure measures the rows one after the other, each for a number of rounds, and
// returns their medians. If a row has two encodings, its time is that of the
// encoding that differs more from the model. Measure calls progress before each
// row with the number of rows that are done, their total, and the row's name.
func Measure(
	ctx context.Context, rows []Row, rounds int, progress func(done, of int, what string),
) ([]time.Duration, error) {
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
			model := r.Model().Time
			if (took-model).Abs() >= (measured[i]-model).Abs() || measured[i] == 0 {
				measured[i] = took
			}
		}
	}
	progress(len(rows), len(rows), "done")
	return measured, nil
}

func (l *Link) measure(ctx context.Context, r Row, e challenge.Encoding, rounds int) (time.Duration, error) {
	var all []time.Duration
	for n := 0; n < rounds || n < rounds+retries && r.off(median(all)); n++ {
		took, err := l.Exchange(ctx, r, e)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("the exchange timed out, a packet was lost: %w", err)
		}
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	return median(all), nil
}

// median returns the median; of an even number, the lower one of the two in the
// middle.
func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)-1)/2]
}
