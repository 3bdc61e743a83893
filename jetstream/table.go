package jetstream

// The bytes are counted in tables of a fixed size, whoever comes: each owner has a cell in each row of
// a table, and has as much as the least of his cells says. Nobody who does not know the seed can
// have the cells of somebody else; and that one's cells are all shared with owners of much, who can be
// partOfWhole at most, once in ten million times.
const (
	rows    = 4
	columns = 1 << columnBits
	// columnBits are those of a hash that choose the cell of a row.
	columnBits = 12
)

// account is whose bytes are counted, as a hash.
type account uint64

// table counts bytes by account.
type table [rows][columns]int64

func (t *table) add(a account, bytes int64) {
	for row := range t {
		t[row][a.column(row)] += bytes
	}
}

func (t *table) subtract(other *table) {
	for row := range t {
		for column := range t[row] {
			t[row][column] -= other[row][column]
		}
	}
}

// of is what an account has, or more if it shares its cells.
func (t *table) of(a account) int64 {
	least := t[0][a.column(0)]
	for row := 1; row < rows; row++ {
		least = min(least, t[row][a.column(row)])
	}
	return least
}

func (a account) column(row int) int { return int(a >> (row * columnBits) & (columns - 1)) }
