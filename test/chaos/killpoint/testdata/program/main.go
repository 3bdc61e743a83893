// Command program does what it reads, and says when it has.
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for lines.Scan() {
		switch lines.Text() {
		case "first":
			first()
		case "second":
			second()
		}
		fmt.Println("did", lines.Text())
	}
}

//go:noinline
func first() { fmt.Println("in first") }

//go:noinline
func second() { fmt.Println("in second") }
