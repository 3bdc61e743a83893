// Package tunnel reaches the server's HTTPS endpoint from outside the cluster, with no more than a kubeconfig: by a
// port-forward through the API server to the server's pod, as kubectl makes one.
//
// The server is known by its certificate, which the certificate authority in the ConfigMap portcullis-trust has
// signed: whoever sits between sees nothing. Who calls is known by a token of the service account
// portcullis-reader that lives ten minutes. So the cluster's RBAC says who may call: those who may forward a
// port to that pod and ask for that token, as the role portcullis-sessions lets them.
package tunnel
