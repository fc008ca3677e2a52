;; festival --batch labels.scm '(labels "jobs.scm")'
;;
;; The front half of the teacher: what festival's slt voice would say, as full-context HTS labels, one file a sentence.
;; jobs.scm holds lists: ("The text." "where/to/write.lab"). The sound itself is made elsewhere (hts_engine, vocoder.py),
;; so the synthesizer's last step only hands the labels over.

(voice_cmu_us_slt_arctic_hts)

(defSynthType HTS
  (set! labels.last (hts_dump_feats_string_list utt hts_feats_list)))

(define (labels.write text path)
  (set! labels.last nil)
  (utt.synth (eval (list 'Utterance 'Text text)))
  (let ((file (fopen path "w")))
    (mapcar (lambda (line) (format file "%s" line)) labels.last)
    (fclose file)))

(define (labels jobs)
  (let ((file (fopen jobs "r")) (job nil))
    (while (not (equal? (set! job (readfp file)) (eof-val)))
      ;; A sentence that festival cannot read leaves no file; the others go on.
      (unwind-protect
        (labels.write (car job) (cadr job))
        (format stderr "no labels for: %s\n" (car job))))
    (fclose file)))
