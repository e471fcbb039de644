package gate

// ends is a heap: the lease that ends first comes first.
type ends []*lease

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].until.Before(e[j].until) }
func (e ends) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = i, j
}

func (e *ends) Push(x any) {
	le := x.(*lease)
	le.place = len(*e)
	*e = append(*e, le)
}

func (e *ends) Pop() any {
	last := len(*e) - 1
	le := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return le
}
