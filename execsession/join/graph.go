package join

import "math/bits"

// graph is a component: which requests (columns) can explain which roots (rows).
type graph struct {
	rows, columns int
	edges         [][]int
}

// set is a set of small numbers.
type set []uint64

func newSet(n int) set       { return make(set, (n+63)/64) }
func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s set) each(visit func(i int)) {
	for w, word := range s {
		for word != 0 {
			visit(w*64 + bits.TrailingZeros64(word))
			word &= word - 1
		}
	}
}

// matching gives each row a column of its own, -1 where there is none left: as many as possible have one.
func (g *graph) matching() (columnOf []int, all bool) {
	columnOf, rowOf := make([]int, g.rows), make([]int, g.columns)
	for i := range columnOf {
		columnOf[i] = -1
	}
	for i := range rowOf {
		rowOf[i] = -1
	}
	all = true
	for row := range g.rows {
		seen := newSet(g.columns)
		all = g.augment(row, seen, columnOf, rowOf) && all
	}
	return columnOf, all
}

// augment finds a column for a row, and another for the row that has to give it up. Its depth is at most the
// number of rows, which is bounded.
func (g *graph) augment(row int, seen set, columnOf, rowOf []int) bool {
	for _, column := range g.edges[row] {
		if seen.has(column) {
			continue
		}
		seen.add(column)
		if rowOf[column] < 0 || g.augment(rowOf[column], seen, columnOf, rowOf) {
			columnOf[row], rowOf[column] = column, row
			return true
		}
	}
	return false
}

// possible returns of each row the columns that it has in some matching of all rows, given one such matching: its own; those
// of rows that can do with another, because one is free or because the row's own becomes free for them.
func (g *graph) possible(columnOf []int) [][]int {
	rowOf := make([]int, g.columns)
	for i := range rowOf {
		rowOf[i] = -1
	}
	for row, column := range columnOf {
		rowOf[column] = row
	}
	next, ends := make([]set, g.rows), newSet(g.rows)
	for row := range g.rows {
		next[row] = newSet(g.rows)
		for _, column := range g.edges[row] {
			if other := rowOf[column]; other < 0 {
				ends.add(row)
			} else if other != row {
				next[row].add(other)
			}
		}
	}
	reached := make([]set, g.rows)
	for row := range g.rows {
		reached[row] = g.reach(row, next)
	}
	out := make([][]int, g.rows)
	for row := range g.rows {
		for _, column := range g.edges[row] {
			other := rowOf[column]
			if other < 0 || other == row || reached[other].has(row) || meets(reached[other], ends) {
				out[row] = append(out[row], column)
			}
		}
	}
	return out
}

// spare are the columns that some matching which is as large as the given one leaves free.
func (g *graph) spare(columnOf []int) set {
	rowsOf := make([][]int, g.columns)
	taken := newSet(g.columns)
	for row, columns := range g.edges {
		for _, column := range columns {
			rowsOf[column] = append(rowsOf[column], row)
		}
		if columnOf[row] >= 0 {
			taken.add(columnOf[row])
		}
	}
	free := newSet(g.columns)
	var open []int
	for column := range g.columns {
		if !taken.has(column) {
			free.add(column)
			open = append(open, column)
		}
	}
	for len(open) > 0 {
		at := open[len(open)-1]
		open = open[:len(open)-1]
		for _, row := range rowsOf[at] { // Its own becomes free if it takes this one.
			if own := columnOf[row]; own >= 0 && !free.has(own) {
				free.add(own)
				open = append(open, own)
			}
		}
	}
	return free
}

// reach are the rows that a row can push on, itself included.
func (g *graph) reach(row int, next []set) set {
	reached := newSet(g.rows)
	reached.add(row)
	for open := []int{row}; len(open) > 0; {
		at := open[len(open)-1]
		open = open[:len(open)-1]
		next[at].each(func(other int) {
			if !reached.has(other) {
				reached.add(other)
				open = append(open, other)
			}
		})
	}
	return reached
}

func meets(a, b set) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}
