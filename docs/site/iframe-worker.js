// Browsers refuse workers to pages that are opened as files. There the search runs in a hidden frame of the same page.
// The name of this file keeps the theme from fetching a script of the same purpose from another host.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.title = "search"
      this.frame.hidden = true
      this.frame.srcdoc = "<!doctype html>"
      this.frame.onload = () => this.load(new URL(address, document.baseURI))
      document.body.append(this.frame)
    }

    load(address) {
      const inner = this.frame.contentWindow
      inner.postMessage = (data) => setTimeout(() => this.onmessage && this.onmessage({ data }))
      const script = inner.document.createElement("script")
      script.src = address.href
      script.onerror = (event) => this.onerror && this.onerror(event)
      script.onload = () => {
        this.inner = inner
        this.waiting.splice(0).forEach((data) => this.postMessage(data))
      }
      inner.document.head.append(script)
    }

    postMessage(data) {
      if (this.inner) setTimeout(() => this.inner.onmessage({ data }))
      else this.waiting.push(data)
    }

    terminate() {
      this.frame.remove()
    }
  }
}
