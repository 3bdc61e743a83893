// Package parse turns the text of a query into its tree.
//
// The grammar is LL(1) but for two places where a name's successor decides
// (a function's parenthesis, and the of of child of), and every parse function
// carries its production. In the productions, UPPER CASE words are tokens of
// the lexer:
//
//	IDENT   = ( letter | "_" | "@" ) { letter | digit | "_" } .   (and no keyword)
//	QUOTED  = "`" { any character but "`" | "``" } "`" .
//	TILDE   = IDENT "~" .                                         (nothing between)
//	STRING  = '"' { character | escape } '"' | '"""' { character } '"""' .
//	escape  = "\" ( "b" | "f" | "n" | "r" | "t" | '"' | "\" | "u{" hex { hex } "}" ) .
//	INTEGER = digit { digit } .
//	DECIMAL = INTEGER "." { digit } [ exponent ] | "." INTEGER [ exponent ] | INTEGER exponent .
//
// White space and comments (// to the end of the line, /* … */) separate tokens.
// No string goes over the end of a line.
//
// Queries come from files that others wrote, so nothing in them may cost more
// than a bounded amount: the text is limited in size, the tree in depth (a stack
// overflow in Go cannot be recovered) and in nodes, and the number of errors too.
package parse
