// Package redact takes secrets out of command lines before they are shown or stored: people type passwords, and
// scripts pass tokens.
//
// It goes by patterns, so it finds what looks like a secret, and only that. Default finds:
//
//   - the value of a flag or a variable whose name says so (password, passwd, pwd, passphrase, secret, token, api key, access key,
//     private key, credential, client secret), as --password=x, --password x, -password x, PGPASSWORD=x, also within the
//     text of a shell's -c; for mysql and sshpass, -px and -p x too
//   - the password in a URL (scheme://user:password@host) and in curl's -u user:password
//   - values of query parameters of such names, and signatures (sig, signature, X-Amz-Signature)
//   - headers: Authorization, Proxy-Authorization, Cookie, X-Api-Key, X-Auth-Token, X-Vault-Token, PRIVATE-TOKEN
//   - tokens by their form: JSON web tokens (a service account's), AWS access key IDs, those of GitHub, GitLab,
//     Slack, and private keys in PEM
//
// What it does not know stays: a password that is an argument like any other. Mask stands for what was
// taken out. Rules still see everything, and so do detections; a history does not.
package redact
