package gate

// leaseHeap is a heap.Interface: the first lease is due first.
type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *leaseHeap) Push(x any) {
	le := x.(*lease)
	le.index = len(*h)
	*h = append(*h, le)
}

func (h *leaseHeap) Pop() any {
	last := len(*h) - 1
	le := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return le
}
