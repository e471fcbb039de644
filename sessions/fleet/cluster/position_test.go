package cluster

import "testing"

// TestPositions: which answers show a gap.
func TestPositions(t *testing.T) {
	type answer struct {
		now    Position
		before int // the request was sent when so many answers had arrived
	}
	at := func(revision int64) Position { return Position{1, revision} }
	for name, row := range map[string]struct {
		start   Position
		answers []answer
		gaps    uint64
		known   Position
	}{
		"the first":                      {Position{}, []answer{{at(7), 0}}, 0, at(7)},
		"later ones":                     {at(5), []answer{{at(5), 0}, {at(9), 1}}, 0, at(9)},
		"another order":                  {at(5), []answer{{at(9), 0}, {at(7), 0}}, 0, at(9)},
		"two first ones":                 {Position{}, []answer{{at(9), 0}, {at(7), 0}}, 0, at(9)},
		"back":                           {at(5), []answer{{at(9), 0}, {at(8), 1}}, 1, at(8)},
		"behind the start":               {at(5), []answer{{at(4), 0}}, 1, at(4)},
		"another cluster":                {at(5), []answer{{Position{2, 9}, 0}}, 1, Position{2, 9}},
		"two clusters at the first":      {Position{}, []answer{{at(5), 0}, {Position{2, 9}, 0}}, 1, Position{2, 9}},
		"one gap, two answers":           {at(5), []answer{{at(2), 0}, {at(3), 0}}, 1, at(3)},
		"one gap, two in another order":  {at(5), []answer{{at(3), 0}, {at(2), 0}}, 1, at(3)},
		"a second gap":                   {at(5), []answer{{at(3), 0}, {at(2), 1}}, 2, at(2)},
		"an answer of the old cluster":   {at(5), []answer{{Position{2, 9}, 0}, {at(6), 0}}, 2, at(6)},
		"and of the new one after a gap": {at(5), []answer{{Position{2, 9}, 0}, {Position{2, 8}, 0}, {Position{2, 9}, 2}}, 1, Position{2, 9}},
	} {
		var p positions
		var reported uint64
		p.init(row.start, func(Gap) { reported++ })
		marks := []mark{p.get()}
		for _, a := range row.answers {
			p.observe(a.now, marks[a.before])
			marks = append(marks, p.get())
		}
		if got := p.get(); got.Position != row.known || got.gaps != row.gaps || reported != row.gaps {
			t.Errorf("%s: got %v, reported %d", name, got, reported)
		}
	}
}
